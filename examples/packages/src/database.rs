//! The table of packages in PostgreSQL, filled with what `apt-cache` knows.

use tokio_postgres::{Client, NoTls};

use crate::Outcome;
use crate::catalogue::{Package, Packages};

/// A connection.
pub(crate) struct Database(Client);

impl Database {
    pub(crate) async fn connect(url: &str) -> Outcome<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        Ok(Self(client))
    }

    /// Makes the table; how many rows it has then.
    pub(crate) async fn fill(&self) -> Outcome<u64> {
        let table = "CREATE TABLE packages (
            name text PRIMARY KEY, version text NOT NULL, section text NOT NULL,
            depends text NOT NULL
        )";
        self.0.batch_execute(table).await?;
        let mut columns: [Vec<String>; 4] = Default::default();
        for (name, package) in available().await? {
            let Package { version, section, depends } = package;
            for (column, text) in
                columns.iter_mut().zip([name, version, section, depends.join(" ")])
            {
                column.push(text);
            }
        }
        let [names, versions, sections, depends] = &columns;
        let insert = "INSERT INTO packages
            SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])";
        Ok(self.0.execute(insert, &[names, versions, sections, depends]).await?)
    }

    /// All of the table.
    pub(crate) async fn packages(&self) -> Outcome<Packages> {
        let rows =
            self.0.query("SELECT name, version, section, depends FROM packages", &[]).await?;
        let package = |row: &tokio_postgres::Row| {
            let depends: &str = row.get(3);
            let depends = depends.split_whitespace().map(str::to_owned).collect();
            (row.get(0), Package { version: row.get(1), section: row.get(2), depends })
        };
        Ok(rows.iter().map(package).collect())
    }

    /// Changes one row.
    pub(crate) async fn move_to(&self, name: &str, section: &str) -> Outcome {
        let update = "UPDATE packages SET section = $2 WHERE name = $1";
        match self.0.execute(update, &[&name, &section]).await? {
            1 => Ok(()),
            _ => Err(format!("there is no package `{name}`").into()),
        }
    }
}

/// The packages that this machine knows: those it has, and those it could have.
async fn available() -> Outcome<Packages> {
    let output = tokio::process::Command::new("apt-cache").arg("dumpavail").output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split("\n\n").filter_map(paragraph).collect())
}

/// One package's paragraph: lines of a field's name and its text.
fn paragraph(text: &str) -> Option<(String, Package)> {
    let field = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
    };
    // `libc6 (>= 2.36), python3:any | python3-minimal`: the first names.
    let depends = field("Depends").unwrap_or_default();
    let first = |one: &str| {
        let name = one.trim_start().split([' ', ':', '|']).next();
        name.filter(|name| !name.is_empty()).map(str::to_owned)
    };
    let package = Package {
        version: field("Version")?,
        section: field("Section").unwrap_or_else(|| "none".to_owned()),
        depends: depends.split(',').filter_map(first).collect(),
    };
    Some((field("Package")?, package))
}
