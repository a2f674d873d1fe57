//! SeaORM's relations through [`Related`].

use std::fmt;

use dogpile::region::ShouldCache;
use sea_orm::{
    DbErr, EntityOrSelect, EntityTrait, IdenStatic, Iterable, LoaderTrait, ModelTrait,
    PrimaryKeyToColumn, Value,
};

use super::Source;
use crate::error::{Error, Result};
use crate::related::Related;
use crate::row::Row;
use crate::session::Form;

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
    let name = |model: &M| match &begins[..] {
        [column] => plain(&model.get(*column)),
        columns => {
            let values = columns.iter().map(|column| format!("{:?}", model.get(*column)));
            values.collect::<Vec<_>>().join(",")
        }
    };
    models.iter().map(|model| Parent { name: name(model), model: model.clone() }).collect()
}

/// As people write it: what is loaded by models can be invalidated by their primary keys.
fn plain(value: &Value) -> String {
    match value {
        Value::SmallInt(Some(number)) => number.to_string(),
        Value::Int(Some(number)) => number.to_string(),
        Value::BigInt(Some(number)) => number.to_string(),
        Value::Unsigned(Some(number)) => number.to_string(),
        Value::BigUnsigned(Some(number)) => number.to_string(),
        Value::String(Some(text)) if is_simple(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

/// Nothing else is shown like this.
fn is_simple(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c))
}

fn models<M>(parents: Vec<Parent<M>>) -> Vec<M> {
    parents.into_iter().map(|parent| parent.model).collect()
}

impl<C, S: Form> Related<'_, C, S> {
    /// The row of `R` that each of `parents` has or belongs to, if any: by one query for
    /// all that are not cached (SeaORM's `load_one`). `related` is the entity, or a
    /// select of it with conditions, for which the relationship needs a name of its own.
    ///
    /// # Errors
    ///
    /// Those of the database; a miss, if only the cache is asked.
    pub async fn load_one<M, R, D>(
        self,
        parents: &[M],
        related: impl EntityOrSelect<R> + Clone + Sync,
        db: &D,
    ) -> Result<Vec<S::Of<Option<R::Model>>>, DbErr>
    where
        M: ModelTrait + Clone + Send + Sync,
        M::Entity: sea_orm::Related<R>,
        R: EntityTrait<Model: Row>,
        D: Source,
        C: ShouldCache<Option<R::Model>>,
    {
        let load = |missing| {
            let related = related.clone();
            async move { models(missing).load_one(related, db).await }
        };
        let call = self.on(db.may_be_in_transaction());
        call.load(self::parents::<M, R>(parents), load).await
    }

    /// The rows of `R` that each of `parents` has, also by a table between: by one query
    /// for all that are not cached (SeaORM's `load_many`). `related` is the entity, or a
    /// select of it with conditions, for which the relationship needs a name of its own.
    ///
    /// # Errors
    ///
    /// Those of the database; a miss, if only the cache is asked.
    pub async fn load_many<M, R, D>(
        self,
        parents: &[M],
        related: impl EntityOrSelect<R> + Clone + Sync,
        db: &D,
    ) -> Result<Vec<S::Of<Vec<R::Model>>>, DbErr>
    where
        M: ModelTrait + Clone + Send + Sync,
        M::Entity: sea_orm::Related<R>,
        R: EntityTrait<Model: Row>,
        D: Source,
        C: ShouldCache<Vec<R::Model>>,
    {
        let load = |missing| {
            let related = related.clone();
            async move { models(missing).load_many(related, db).await }
        };
        let call = self.on(db.may_be_in_transaction());
        call.load(self::parents::<M, R>(parents), load).await
    }

    /// Forgets what is cached of the entity `R` for these parents: what
    /// [`load_one`](Self::load_one) and [`load_many`](Self::load_many) have loaded.
    ///
    /// # Errors
    ///
    /// If the cache fails.
    pub async fn invalidate_of<M, R>(self, parents: &[M], _related: R) -> Result<(), DbErr>
    where
        M: ModelTrait + Clone,
        M::Entity: sea_orm::Related<R>,
        R: EntityTrait,
    {
        self.invalidate(self::parents::<M, R>(parents)).await.map_err(Error::widen)
    }
}
