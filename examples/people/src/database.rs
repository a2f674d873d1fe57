//! A database in memory, which writes down what it is asked.

use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr};

/// The statements that have run.
#[derive(Debug, Clone, Default)]
pub struct Statements(Arc<Mutex<Vec<String>>>);

impl Statements {
    /// Those since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, statement: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(statement.replace('"', ""));
    }
}

const TABLES: &str = "
    CREATE TABLE countries (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE cities (id INTEGER PRIMARY KEY, name TEXT NOT NULL, country_id INTEGER NOT NULL);
    CREATE TABLE postal_codes (id INTEGER PRIMARY KEY, code TEXT NOT NULL, city_id INTEGER NOT NULL);
    CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE addresses (id INTEGER PRIMARY KEY, person_id INTEGER NOT NULL,
        street TEXT NOT NULL, postal_code_id INTEGER NOT NULL);

    INSERT INTO countries VALUES (1, 'Canada'), (2, 'United States');
    INSERT INTO cities VALUES (1, 'Toronto', 1), (2, 'Montreal', 1), (3, 'New York', 2), (4, 'Boston', 2);
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 11)
        INSERT INTO postal_codes SELECT i + 1, printf('%05d', 10000 + 7 * i), i % 4 + 1 FROM n;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
        INSERT INTO people SELECT i, printf('person %.2d', i) FROM n;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150)
        INSERT INTO addresses SELECT i, (i - 1) % 100 + 1, i || ' Main Street', i % 12 + 1 FROM n;
";

pub(crate) async fn connect() -> Result<(DatabaseConnection, Statements), DbErr> {
    let mut options = ConnectOptions::new("sqlite::memory:");
    options.max_connections(1);
    let mut db = Database::connect(options).await?;
    db.execute_unprepared(TABLES).await?;
    let statements = Statements::default();
    let noted = statements.clone();
    db.set_metric_callback(move |run| noted.note(&run.statement.to_string()));
    Ok((db, statements))
}
