//! Query caching, step by step, with the SQL that each step runs.
//!
//! - `model`: the tables;
//! - `database`: SQLite in memory, which notes what it is asked;
//! - here: the story.

mod database;
mod model;

use std::error::Error;
use std::sync::Arc;

use dogpile::backend::Memory;
use dogpile::{Config, Region};
use dogpile_orm::sea_orm::FromCacheExt;
use dogpile_orm::{Related, Session};
use sea_orm::{ActiveModelTrait, DatabaseConnection, EntityTrait, IntoActiveModel, QueryOrder};
use sea_orm::{ColumnTrait, QueryFilter, Select, Set};

pub use database::Statements;
use model::{address, city, country, person, postal_code};

/// A step of the story: what was done, what it came to, and which statements ran.
#[derive(Debug)]
pub struct Step {
    /// The step.
    pub what: &'static str,
    /// The outcome of the step.
    pub outcome: String,
    /// The SQL that ran.
    pub statements: Vec<String>,
}

/// The first ten people.
fn first_ten() -> Select<person::Entity> {
    person::Entity::find().filter(person::Column::Id.lte(10)).order_by_asc(person::Column::Id)
}

/// People with where they live, through the relationship cache: four relationships, each
/// a query at most, however many people there are.
async fn where_they_live(
    people: &[person::Model],
    db: &DatabaseConnection,
) -> Result<Vec<String>, Box<dyn Error>> {
    let related = |name| Related::new("relationships", name);
    let addresses = related("person.addresses").load_many(people, address::Entity, db).await?;
    let addresses: Vec<address::Model> = addresses.into_iter().flatten().collect();
    let codes =
        related("address.postal_code").load_one(&addresses, postal_code::Entity, db).await?;
    let codes: Vec<postal_code::Model> = codes.into_iter().flatten().collect();
    let cities = related("postal_code.city").load_one(&codes, city::Entity, db).await?;
    let cities: Vec<city::Model> = cities.into_iter().flatten().collect();
    let countries = related("city.country").load_one(&cities, country::Entity, db).await?;
    let rows = addresses.iter().zip(&codes).zip(&cities).zip(countries.iter().flatten());
    let text = rows.map(|(((address, code), city), country)| {
        format!("{}, {} {}, {}", address.street, code.code, city.name, country.name)
    });
    Ok(text.collect())
}

/// Runs the story; each step as it happened.
///
/// # Errors
///
/// Those of the database; the cache has none here.
pub async fn story() -> Result<Vec<Step>, Box<dyn Error>> {
    for name in ["default", "relationships"] {
        let region = Region::named(name);
        region.configure(Config::new(Memory::new(10_000)))?;
        dogpile_orm::register(region);
    }
    let (db, statements) = database::connect().await?;
    let mut steps = Vec::new();
    let mut step = |what, outcome: String| {
        steps.push(Step { what, outcome, statements: statements.take() });
    };

    let people = first_ten().from_cache("default").all(&db).await?;
    step("a query runs the first time", format!("{} people", people.len()));
    let again = first_ten().from_cache("default").all(&db).await?;
    step("and is answered from the cache the second time", format!("{} people", again.len()));
    let five = first_ten().filter(person::Column::Id.gt(5)).from_cache("default").all(&db).await?;
    step("other values are another result", format!("{} people", five.len()));

    let homes = where_they_live(&people, &db).await?;
    step("relationships: one query each, for all that are missing", homes[0].clone());
    let homes = where_they_live(&people, &db).await?;
    step("none, when they are there", format!("{} addresses", homes.len()));
    let twenty = person::Entity::find().filter(person::Column::Id.between(1, 20));
    let twenty = twenty.from_cache("default").all(&db).await?;
    step("twenty people, of whom ten are known", format!("{} people", twenty.len()));
    let homes = where_they_live(&twenty, &db).await?;
    step("their addresses: only those of the others", format!("{} addresses", homes.len()));

    let mut first = people[0].clone().into_active_model();
    first.name = Set("somebody else".to_owned());
    first.update(&db).await?;
    step("a row is changed", people[0].name.clone());
    let stale = first_ten().from_cache("default").all(&db).await?;
    step("the cache does not know", stale[0].name.clone());
    first_ten().from_cache("default").invalidate(&db).await?;
    let fresh = first_ten().from_cache("default").all(&db).await?;
    step("until the same statement with the same values is invalidated", fresh[0].name.clone());

    let moved = address::Entity::find_by_id(1).one(&db).await?.ok_or("there is an address")?;
    let mut moved = moved.into_active_model();
    moved.street = Set("1 Side Street".to_owned());
    moved.update(&db).await?;
    statements.take();
    let stale = where_they_live(&people, &db).await?;
    step("an address is changed: the relationship does not know", stale[0].clone());
    let addresses = Related::new("relationships", "person.addresses");
    addresses.invalidate_of(&people[..1], address::Entity).await?;
    let homes = where_they_live(&people, &db).await?;
    step("until it is invalidated, for the one person", homes[0].clone());

    let session = Session::new();
    let one = first_ten().from_cache("default").in_session(&session).all(&db).await?;
    let two = first_ten().from_cache("default").in_session(&session).all(&db).await?;
    step("within a session it is the same object", format!("{}", Arc::ptr_eq(&one, &two)));
    session.clear();
    let three = first_ten().from_cache("default").in_session(&session).all(&db).await?;
    step("after it, another one, and still no query", format!("{}", Arc::ptr_eq(&one, &three)));

    let addresses = || Related::new("relationships", "person.addresses").in_session(&session);
    let one = addresses().load_many(&people, address::Entity, &db).await?;
    dogpile_orm::region("relationships").ok_or("it is registered")?.invalidate_all().await?;
    let two = addresses().load_many(&people, address::Entity, &db).await?;
    let same = one.iter().zip(&two).all(|(one, two)| Arc::ptr_eq(one, two));
    step("related rows that a session has stay, whatever the cache does", format!("{same}"));

    let nobody = person::Entity::find().filter(person::Column::Id.gt(1_000));
    let missed = nobody.from_cache("default").cache_only().all(&db).await;
    step(
        "what may come from the cache only is an error if it is not there",
        match missed {
            Ok(found) => format!("{} people", found.len()),
            Err(error) => error.to_string().split(" has").next().unwrap_or_default().to_owned(),
        },
    );
    Ok(steps)
}
