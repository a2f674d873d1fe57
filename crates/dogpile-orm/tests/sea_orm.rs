//! Queries of SeaORM, on SQLite, PostgreSQL and MariaDB.
#![cfg(feature = "sea-orm")]

mod common;

use std::time::Duration;

use common::{mariadb, postgres, region};
use dogpile_orm::Error;
use dogpile_orm::sea_orm::FromCacheExt;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, FromQueryResult, IntoActiveModel, QueryOrder,
    QuerySelect, Set,
};
use serde::{Deserialize, Serialize};

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
        #[sea_orm(has_one = "super::address::Entity")]
        Address,
    }

    impl Related<super::address::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Address.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod address {
    use sea_orm::entity::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Serialize, Deserialize)]
    #[sea_orm(table_name = "addresses")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) person_id: i64,
        pub(crate) street: String,
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

async fn fill(db: &DatabaseConnection) {
    for statement in [
        "CREATE TABLE people (id BIGINT PRIMARY KEY, name TEXT NOT NULL)",
        "CREATE TABLE addresses (id BIGINT PRIMARY KEY, person_id BIGINT NOT NULL, street TEXT NOT NULL)",
        "INSERT INTO people VALUES (1, 'Ada'), (2, 'Alan'), (3, 'Grace')",
        "INSERT INTO addresses VALUES (7, 1, 'Main Street')",
    ] {
        db.execute_unprepared(statement).await.unwrap();
    }
}

async fn databases() -> [DatabaseConnection; 3] {
    let mut options = ConnectOptions::new("sqlite::memory:");
    options.max_connections(1);
    let all = [
        Database::connect(options).await.unwrap(),
        Database::connect(postgres()).await.unwrap(),
        Database::connect(mariadb()).await.unwrap(),
    ];
    for db in &all {
        fill(db).await;
    }
    all
}

async fn rename(db: &DatabaseConnection, id: i64, name: &str) {
    let person = person::Entity::find_by_id(id).one(db).await.unwrap().unwrap();
    let mut person = person.into_active_model();
    person.name = Set(name.to_owned());
    person.update(db).await.unwrap();
}

mod tag {
    use sea_orm::entity::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Serialize, Deserialize)]
    #[sea_orm(table_name = "tags")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod person_tag {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "people_tags")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) person_id: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) tag_id: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {
        #[sea_orm(
            belongs_to = "super::person::Entity",
            from = "Column::PersonId",
            to = "super::person::Column::Id"
        )]
        Person,
        #[sea_orm(
            belongs_to = "super::tag::Entity",
            from = "Column::TagId",
            to = "super::tag::Column::Id"
        )]
        Tag,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

impl Related<tag::Entity> for person::Entity {
    fn to() -> RelationDef {
        person_tag::Relation::Tag.def()
    }

    fn via() -> Option<RelationDef> {
        Some(person_tag::Relation::Person.def().rev())
    }
}

/// Relations of each kind, with as many statements as there should be.
#[tokio::test]
async fn relations_are_one_query_for_all_that_are_missing() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    let mut options = ConnectOptions::new("sqlite::memory:");
    options.max_connections(1);
    let mut db = Database::connect(options).await.unwrap();
    fill(&db).await;
    for statement in [
        "CREATE TABLE tags (id BIGINT PRIMARY KEY, name TEXT NOT NULL)",
        "CREATE TABLE people_tags (person_id BIGINT, tag_id BIGINT)",
        "INSERT INTO tags VALUES (1, 'first'), (2, 'second')",
        "INSERT INTO people_tags VALUES (1, 1), (1, 2), (3, 2)",
        "INSERT INTO addresses VALUES (8, 1, 'Side Street')",
    ] {
        db.execute_unprepared(statement).await.unwrap();
    }
    let people = person::Entity::find().order_by_asc(person::Column::Id).all(&db).await.unwrap();
    let addresses = address::Entity::find().all(&db).await.unwrap();
    let ran = Arc::new(AtomicU32::new(0));
    let counter = ran.clone();
    db.set_metric_callback(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let (region, _) = region("related");
    let related = |name| dogpile_orm::Related::new(&region, name);
    let load = async |people: &[person::Model]| {
        let many = related("person.addresses").load_many(people, address::Entity, &db);
        let many = many.await.unwrap();
        let tags = related("person.tags").load_many(people, tag::Entity, &db).await.unwrap();
        let one = related("person.address").load_one(people, address::Entity, &db);
        let one = one.await.unwrap();
        let names = |tags: &Vec<tag::Model>| tags.iter().map(|tag| tag.name.clone()).collect();
        let tags: Vec<Vec<String>> = tags.iter().map(names).collect();
        (many.iter().map(Vec::len).collect::<Vec<_>>(), tags, one.iter().flatten().count())
    };
    let cold = load(&people[..2]).await;
    assert_eq!(cold.0, [2, 0]);
    assert_eq!((&cold.1[0][..], cold.2), (&["first".to_owned(), "second".to_owned()][..], 1));
    let statements = ran.swap(0, Ordering::SeqCst);
    assert_eq!(load(&people[..2]).await, cold);
    assert_eq!(ran.swap(0, Ordering::SeqCst), 0, "all of it is there");
    let all = load(&people).await;
    assert_eq!((all.0, &all.1[2][..]), (vec![2, 0, 0], &["second".to_owned()][..]));
    assert_eq!(ran.swap(0, Ordering::SeqCst), statements, "for the third person alone");

    // Two addresses of one person share it, whoever asked first.
    let owners = related("address.person").load_one(&addresses, person::Entity, &db).await.unwrap();
    assert_eq!(owners.iter().flatten().map(|owner| owner.id).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(ran.swap(0, Ordering::SeqCst), 1);
    let again = related("address.person").load_one(&addresses[1..], person::Entity, &db);
    assert_eq!((again.await.unwrap().len(), ran.load(Ordering::SeqCst)), (1, 0));

    // Of one person they are forgotten; and with a condition they are another relationship.
    related("person.addresses").invalidate_of(&people[..1], address::Entity).await.unwrap();
    let many = related("person.addresses").load_many(&people, address::Entity, &db).await.unwrap();
    assert_eq!((many[0].len(), ran.swap(0, Ordering::SeqCst)), (2, 1));
    related("person.addresses").invalidate([people[0].id]).await.unwrap();
    related("person.addresses").load_many(&people, address::Entity, &db).await.unwrap();
    assert_eq!(ran.swap(0, Ordering::SeqCst), 1, "a parent goes by its primary key");
    let main = address::Entity::find().filter(address::Column::Street.starts_with("Main"));
    let main = related("person.main_addresses").load_many(&people, main, &db).await.unwrap();
    assert_eq!((main[0].len(), ran.swap(0, Ordering::SeqCst)), (1, 1));
    let session = dogpile_orm::Session::new();
    let tags = || related("person.tags").in_session(&session);
    let one = tags().load_many(&people, tag::Entity, &db).await.unwrap();
    region.invalidate_all().await.unwrap();
    let two = tags().load_many(&people, tag::Entity, &db).await.unwrap();
    assert!(one.iter().zip(&two).all(|(one, two)| Arc::ptr_eq(one, two)));
    assert_eq!(ran.load(Ordering::SeqCst), 0);
}

#[derive(Debug, Clone, PartialEq, FromQueryResult, Serialize, Deserialize)]
struct Name {
    name: String,
}

#[tokio::test]
async fn queries_of_every_kind_are_kept() {
    for db in databases().await {
        let (region, clock) = region("people");
        let a = || person::Entity::find().filter(person::Column::Name.starts_with("A"));
        let ordered = || a().order_by_asc(person::Column::Id);
        let with_address = || ordered().find_also_related(address::Entity);
        let names = || ordered().select_only().column(person::Column::Name).into_model::<Name>();
        let ids = || ordered().select_only().column(person::Column::Id).into_tuple::<i64>();
        let all = async || {
            let people = ordered().from_cache(&region).all(&db).await.unwrap();
            let first = ordered().from_cache(&region).one(&db).await.unwrap().unwrap();
            let joined = with_address().from_cache(&region).all(&db).await.unwrap();
            let names = names().from_cache(&region).all(&db).await.unwrap();
            let ids = ids().from_cache(&region).all(&db).await.unwrap();
            let count = a().from_cache(&region).count(&db).await.unwrap();
            let second = ordered().from_cache(&region).page(&db, 1, 1).await.unwrap();
            (people, first, joined, names, ids, count, second)
        };
        let before = all().await;
        assert_eq!((before.0.len(), before.5, &*before.6[0].name), (2, 2, "Alan"));
        assert_eq!(
            (&before.1, &*before.3[0].name, &before.4[..]),
            (&before.0[0], "Ada", &[1, 2][..])
        );
        assert_eq!(before.2[0].1.as_ref().unwrap().street, "Main Street");
        assert!(before.2[1].1.is_none());
        let creations = region.statistics().creations;
        assert_eq!(creations, 7);

        rename(&db, 1, "Augusta").await;
        assert_eq!(all().await, before);
        assert_eq!(region.statistics().creations, creations);
        ordered().from_cache(&region).invalidate(&db).await.unwrap();
        let after = all().await;
        assert_eq!(
            (&*after.0[0].name, &*after.1.name, &after.2),
            ("Augusta", "Augusta", &before.2)
        );
        assert_eq!(region.statistics().creations, creations + 2);
        clock.advance(Duration::from_secs(120));
        assert_eq!(all().await.2[0].0.name, "Augusta");
    }
}

/// What comes of raw statements, of joins with many, and of a NULL.
#[tokio::test]
async fn queries_of_less_usual_kinds_are_kept() {
    use sea_orm::{DbBackend, Statement};

    for db in databases().await {
        let (region, _) = region("unusual");
        let name = |db: &DatabaseConnection| {
            let text = "SELECT * FROM people WHERE id = 2";
            let statement = Statement::from_string(db.get_database_backend(), text);
            person::Entity::find().from_raw_sql(statement).from_cache(&region)
        };
        let with_addresses = || {
            let people = person::Entity::find().order_by_asc(person::Column::Id);
            people.find_with_related(address::Entity).from_cache(&region)
        };
        let greatest = || {
            let none = person::Entity::find().filter(person::Column::Id.gt(9)).select_only();
            none.column_as(person::Column::Id.max(), "greatest").into_tuple::<Option<i64>>()
        };
        for _ in 0..2 {
            assert_eq!(name(&db).one(&db).await.unwrap().unwrap().name, "Alan");
            let all = with_addresses().all(&db).await.unwrap();
            assert_eq!((all.len(), all[0].1.len(), all[1].1.len()), (3, 1, 0));
            let first = with_addresses().one(&db).await.unwrap().unwrap();
            assert_eq!((first.0.id, first.1.len()), (1, 1));
            let greatest = greatest().from_cache(&region).one(&db).await.unwrap();
            assert_eq!(greatest, Some(None));
        }
        assert_eq!(region.statistics().creations, 4);
        with_addresses().invalidate(&db).await.unwrap();
        with_addresses().all(&db).await.unwrap();
        assert_eq!(region.statistics().creations, 5);
        assert!(!matches!(db.get_database_backend(), DbBackend::Sqlite) || all_differ(&db).await);
    }
}

/// Two databases of different kinds share nothing.
async fn all_differ(sqlite: &DatabaseConnection) -> bool {
    let (region, _) = region("kinds");
    let query = || person::Entity::find().from_cache(&region);
    let other = Database::connect(postgres()).await.unwrap();
    fill(&other).await;
    query().all(sqlite).await.unwrap();
    query().all(&other).await.unwrap();
    region.statistics().creations == 2
}

mod everything {
    use sea_orm::entity::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Copy, Debug, PartialEq, EnumIter, DeriveActiveEnum, Serialize, Deserialize)]
    #[sea_orm(rs_type = "String", db_type = "Enum", enum_name = "shade")]
    pub(crate) enum Shade {
        #[sea_orm(string_value = "dark")]
        Dark,
        #[sea_orm(string_value = "light")]
        Light,
    }

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Serialize, Deserialize)]
    #[sea_orm(table_name = "everything")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: Uuid,
        pub(crate) small: i16,
        pub(crate) real: f32,
        pub(crate) double: f64,
        pub(crate) exact: Decimal,
        pub(crate) document: Json,
        pub(crate) numbers: Vec<i64>,
        pub(crate) at: DateTimeUtc,
        pub(crate) bytes: Vec<u8>,
        pub(crate) nothing: Option<i32>,
        pub(crate) shade: Shade,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Values of every kind, in rows and as what is asked for.
#[tokio::test]
async fn rows_and_values_of_every_kind_survive() {
    use everything::{Column, Entity, Shade};

    let db = Database::connect(postgres()).await.unwrap();
    for statement in [
        "CREATE TYPE shade AS ENUM ('dark', 'light')",
        "CREATE TABLE everything (id uuid PRIMARY KEY, small int2 NOT NULL, \"real\" float4 NOT NULL,
            double float8 NOT NULL, exact numeric NOT NULL, document jsonb NOT NULL,
            numbers int8[] NOT NULL, at timestamptz NOT NULL, bytes bytea NOT NULL,
            nothing int4, shade shade NOT NULL)",
        "INSERT INTO everything VALUES ('6f2b1c9e-0000-4000-8000-000000000001', -32768, 0.1, 1e-300,
            123456789.123456789, '{\"a\": [1, null]}', '{1,-2}', '2026-01-02 03:04:05.678901+02',
            '\\x00ff', NULL, 'light')",
    ] {
        db.execute_unprepared(statement).await.unwrap();
    }
    let direct = Entity::find().one(&db).await.unwrap().unwrap();
    let (region, _) = region("everything");
    let queries = || {
        let with = |column: Column, value: Value| Entity::find().filter(column.eq(value));
        [
            Entity::find(),
            with(Column::Id, direct.id.into()),
            with(Column::Id, Uuid::from_u128(1).into()),
            with(Column::Exact, direct.exact.into()),
            with(Column::Exact, Decimal::ONE.into()),
            with(Column::Document, direct.document.clone().into()),
            with(Column::Document, serde_json::json!({"a": 1}).into()),
            with(Column::Numbers, vec![1_i64, -2].into()),
            with(Column::Numbers, vec![-2_i64, 1].into()),
            with(Column::At, direct.at.into()),
            with(Column::At, (direct.at + chrono::TimeDelta::microseconds(1)).into()),
            with(Column::Bytes, direct.bytes.clone().into()),
            Entity::find().filter(Column::Shade.eq(Shade::Dark)),
            Entity::find().filter(Column::Shade.eq(Shade::Light)),
            Entity::find().filter(Column::Nothing.is_null()),
        ]
    };
    for _ in 0..2 {
        let mut found = 0;
        for query in queries() {
            let rows = query.from_cache(&region).all(&db).await.unwrap();
            assert!(rows.iter().all(|row| *row == direct));
            found += rows.len();
        }
        assert_eq!((found, region.statistics().creations), (9, queries().len() as u64));
    }
}

#[tokio::test]
async fn values_and_databases_have_keys_of_their_own() {
    let mut options = ConnectOptions::new("sqlite::memory:");
    options.max_connections(1);
    let sqlite = Database::connect(options).await.unwrap();
    fill(&sqlite).await;
    let (region, _) = region("values");
    let queries = || {
        let value = |value: Value| {
            person::Entity::find().filter(ExprTrait::eq(Expr::val(1), Expr::val(value)))
        };
        [
            value(1_i8.into()),
            value(1_i16.into()),
            value(1_i32.into()),
            value(1_i64.into()),
            value(1_u64.into()),
            value(2_i64.into()),
            value(1_f32.into()),
            value(1_f64.into()),
            value("1".into()),
            value("".into()),
            value(b"1".to_vec().into()),
            value(true.into()),
            value(Value::Int(None)),
            value(Value::BigInt(None)),
            value(Value::String(None)),
        ]
    };
    for _ in 0..2 {
        for query in queries() {
            query.from_cache(&region).all(&sqlite).await.unwrap();
        }
        assert_eq!(region.statistics().creations, queries().len() as u64);
    }
}

/// Within a function that returns SeaORM's own error, from a spawned task.
#[tokio::test]
async fn errors_are_seaorms_and_are_not_kept() {
    let mut options = ConnectOptions::new("sqlite::memory:");
    options.max_connections(1);
    let db = Database::connect(options).await.unwrap();
    let (region, _) = region("errors");
    let missed = person::Entity::find().from_cache(&region).cache_only().all(&db).await;
    assert!(matches!(missed, Err(Error::NotCached { .. })));
    let failed = person::Entity::find().from_cache(&region).all(&db).await;
    assert!(matches!(failed, Err(Error::Database(_))));
    fill(&db).await;
    let own = region.clone();
    let task = tokio::spawn(async move {
        let people = person::Entity::find().from_cache(&own).all(&db).await?;
        Ok::<_, DbErr>(people.len())
    });
    assert_eq!(task.await.unwrap().unwrap(), 3);
}
