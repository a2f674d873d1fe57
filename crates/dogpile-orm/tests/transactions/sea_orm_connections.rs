//! SeaORM: the type of the connection decides.

use dogpile_orm::sea_orm::{FromCacheExt, Source, Transaction};
use dogpile_orm::{Error, Related};
use sea_orm::entity::prelude::*;
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DatabaseExecutor, IsolationLevel, QueryOrder,
    TransactionOptions,
};

use crate::common::{mariadb, postgres, region};
use crate::{SqliteFile, TABLE};

mod person {
    use sea_orm::entity::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Serialize, Deserialize)]
    #[sea_orm(table_name = "people")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {
        #[sea_orm(has_one = "super::pet::Entity")]
        Pet,
    }

    impl Related<super::pet::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Pet.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod pet {
    use sea_orm::entity::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Serialize, Deserialize)]
    #[sea_orm(table_name = "pets")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) person_id: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {
        #[sea_orm(
            belongs_to = "super::person::Entity",
            from = "Column::PersonId",
            to = "super::person::Column::Id"
        )]
        Person,
    }

    impl Related<super::person::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Person.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

async fn connected(url: String) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(5);
    let db = Database::connect(options).await.unwrap();
    let pets = "CREATE TABLE pets (id BIGINT PRIMARY KEY, person_id BIGINT NOT NULL)";
    for statement in TABLE.into_iter().chain([pets]) {
        db.execute_unprepared(statement).await.unwrap();
    }
    db
}

/// Names, the first name, how many there are, the second page's names, and how many pets the
/// first person has: each by a form of its own.
type Seen = (Vec<String>, String, u64, Vec<String>, usize);

async fn seen<D: Source>(region: &dogpile::Region, db: &D) -> Seen {
    let query = || person::Entity::find().order_by_asc(person::Column::Id);
    let cached = || query().from_cache(region);
    let names = |people: Vec<person::Model>| people.into_iter().map(|person| person.name).collect();
    let all = cached().all(db).await.unwrap();
    let first = cached().one(db).await.unwrap().unwrap().name;
    let count = cached().count(db).await.unwrap();
    let page = cached().page(db, 1, 1).await.unwrap();
    let pets = Related::new(region, "person.pets").load_many(&all[..1], pet::Entity, db);
    let pets = pets.await.unwrap()[0].len();
    let pet = Related::new(region, "person.pet").load_one(&all[..1], pet::Entity, db);
    assert_eq!(pet.await.unwrap()[0].is_some(), pets > 0);
    (names(all), first, count, names(page), pets)
}

const FORMS: u64 = 6;

async fn change(region: &dogpile::Region, db: &DatabaseConnection) {
    for statement in [
        "UPDATE people SET name = 'Augusta'",
        "INSERT INTO people VALUES (2, 'Alan')",
        "INSERT INTO pets VALUES (1, 1)",
    ] {
        db.execute_unprepared(statement).await.unwrap();
    }
    region.invalidate_all().await.unwrap();
}

async fn snapshots_are_their_transactions_own(db: DatabaseConnection, options: TransactionOptions) {
    let (region, _) = region("people");
    let before: Seen = (vec!["Ada".into()], "Ada".into(), 1, vec![], 0);
    let after: Seen =
        (vec!["Augusta".into(), "Alan".into()], "Augusta".into(), 2, vec!["Alan".into()], 1);
    assert_eq!(seen(&region, &db).await, before);
    let transaction = Transaction::begin_with(&db, options).await.unwrap();
    assert_eq!(person::Entity::find().count(&*transaction).await.unwrap(), 1);
    change(&region, &db).await;
    assert_eq!(seen(&region, &*transaction).await, before);
    assert_eq!(seen(&region, &db).await, after);
    assert_eq!(seen(&region, &DatabaseExecutor::from(&*transaction)).await, before);
    transaction.rollback().await.unwrap();
    assert_eq!(seen(&region, &DatabaseExecutor::from(&db)).await, after);
    assert_eq!(region.statistics().creations, 2 * FORMS);

    // Its own changes are for it alone.
    let transaction = Transaction::begin(&db).await.unwrap();
    transaction.execute_unprepared("UPDATE people SET name = 'nobody'").await.unwrap();
    region.invalidate_all().await.unwrap();
    assert_eq!(seen(&region, &*transaction).await.1, "nobody");
    let refresh = person::Entity::find().from_cache(&region).refresh().all(&*transaction).await;
    assert!(matches!(refresh, Err(Error::RefreshInTransaction { .. })));
    assert_eq!(seen(&region, &db).await, after);
    transaction.rollback().await.unwrap();
    assert_eq!(seen(&region, &db).await, after);
}

fn repeatable() -> TransactionOptions {
    let isolation_level = Some(IsolationLevel::RepeatableRead);
    TransactionOptions { isolation_level, ..TransactionOptions::default() }
}

#[tokio::test]
async fn sqlite_snapshots_are_their_transactions_own() {
    let file = SqliteFile::new();
    let db = connected(file.url()).await;
    snapshots_are_their_transactions_own(db, TransactionOptions::default()).await;
}

#[tokio::test]
async fn postgres_snapshots_are_their_transactions_own() {
    snapshots_are_their_transactions_own(connected(postgres()).await, repeatable()).await;
}

#[tokio::test]
async fn mariadb_snapshots_are_their_transactions_own() {
    let options = TransactionOptions::default();
    snapshots_are_their_transactions_own(connected(mariadb()).await, options).await;
}
