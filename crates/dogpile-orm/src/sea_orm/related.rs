//! SeaORM's relations through [`Related`].

use std::fmt;

use dogpile::Cacheable;
use sea_orm::{
    ConnectionTrait, DbErr, EntityTrait, IdenStatic, Iterable, LoaderTrait, ModelTrait,
    PrimaryKeyToColumn,
};

use crate::error::Result;
use crate::from_cache::Row;
use crate::related::Related;

/// A parent, named by the columns that its relation begins at: of a `belongs_to` those
/// that refer, so that parents which refer to the same row share it.
#[derive(Clone)]
struct Parent<M> {
    model: M,
    name: String,
}

impl<M> fmt::Display for Parent<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn parents<M, R>(models: &[M]) -> Vec<Parent<M>>
where
    M: ModelTrait + Clone,
    M::Entity: sea_orm::Related<R>,
    R: EntityTrait,
{
    type Column<M> = <<M as ModelTrait>::Entity as EntityTrait>::Column;
    let key =
        || <M::Entity as EntityTrait>::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column);
    let is_far = <M::Entity as sea_orm::Related<R>>::via().is_some();
    let from = <M::Entity as sea_orm::Related<R>>::to().from_col;
    let begins: Vec<Column<M>> = if is_far {
        key().collect()
    } else {
        let begins = |column: &Column<M>| {
            let name = column.as_str();
            from.iter().any(|from| from.to_string() == name)
        };
        Column::<M>::iter().filter(begins).collect()
    };
    let name = |model: &M| {
        let values = begins.iter().map(|column| format!("{:?}", model.get(*column)));
        values.collect::<Vec<_>>().join(",")
    };
    models.iter().map(|model| Parent { name: name(model), model: model.clone() }).collect()
}

fn models<M>(parents: Vec<Parent<M>>) -> Vec<M> {
    parents.into_iter().map(|parent| parent.model).collect()
}

impl Related<'_> {
    /// The row of `R` that each of `parents` has or belongs to, if any: by one query for
    /// all that are not cached (SeaORM's `load_one`).
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn load_one<M, R, D>(
        self,
        parents: &[M],
        related: R,
        db: &D,
    ) -> Result<Vec<Option<R::Model>>, DbErr>
    where
        M: ModelTrait + Clone + Send + Sync,
        M::Entity: sea_orm::Related<R>,
        R: EntityTrait<Model: Row>,
        D: ConnectionTrait,
        Option<R::Model>: Cacheable<dogpile::Serde>,
    {
        let load = async |missing: Vec<Parent<M>>| models(missing).load_one(related, db).await;
        self.load(self::parents::<M, R>(parents), load).await
    }

    /// The rows of `R` that each of `parents` has, also by a table between: by one query
    /// for all that are not cached (SeaORM's `load_many`).
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn load_many<M, R, D>(
        self,
        parents: &[M],
        related: R,
        db: &D,
    ) -> Result<Vec<Vec<R::Model>>, DbErr>
    where
        M: ModelTrait + Clone + Send + Sync,
        M::Entity: sea_orm::Related<R>,
        R: EntityTrait<Model: Row>,
        D: ConnectionTrait,
        Vec<R::Model>: Cacheable<dogpile::Serde>,
    {
        let load = async |missing: Vec<Parent<M>>| models(missing).load_many(related, db).await;
        self.load(self::parents::<M, R>(parents), load).await
    }
}
