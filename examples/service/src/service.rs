//! The service: a customer, a customer's orders, the best customers.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use dogpile_orm::sqlx::FromCacheExt;
use dogpile_orm::{Related, Session};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;
use sqlx::{PgPool, Postgres};

use crate::QUERIES;

#[derive(Debug, Clone, Serialize, Deserialize, sqlx::FromRow)]
pub(crate) struct Customer {
    id: i64,
    name: String,
    revision: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, sqlx::FromRow)]
struct Order {
    id: i64,
    customer_id: i64,
    cents: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, sqlx::FromRow)]
struct Best {
    name: String,
    cents: i64,
}

/// The state of the endpoints.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) pool: PgPool,
    /// Is the cache in use? So that both can be measured.
    pub(crate) cached: bool,
}

type Answer<T> = Result<Json<T>, StatusCode>;

fn failed<E>(_: E) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

pub(crate) fn router(shop: Shop) -> Router {
    Router::new()
        .route("/customers/{id}", get(one))
        .route("/customers/{id}/orders", get(orders))
        .route("/best", get(best))
        .with_state(shop)
}

pub(crate) fn customer(id: i64) -> QueryAs<'static, Postgres, Customer, PgArguments> {
    sqlx::query_as("SELECT id, name, revision FROM customers WHERE id = $1").bind(id)
}

/// A request has a session: whoever else asks for this customer in the course of it
/// (a guard, a template) gets the same object.
async fn one(State(shop): State<Shop>, session: Session, Path(id): Path<i64>) -> Answer<Customer> {
    let found = if shop.cached {
        let cached = customer(id).from_cache(&QUERIES).in_session(&session);
        cached.fetch_optional(&shop.pool).await.map_err(failed)?.map(|found| (*found).clone())
    } else {
        customer(id).fetch_optional(&shop.pool).await.map_err(failed)?
    };
    found.map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn orders(State(shop): State<Shop>, Path(id): Path<i64>) -> Answer<Vec<Order>> {
    let load = async |customers: Vec<i64>| {
        let query =
            "SELECT id, customer_id, cents FROM orders WHERE customer_id = ANY($1) ORDER BY id";
        let rows: Vec<Order> = sqlx::query_as(query).bind(&customers).fetch_all(&shop.pool).await?;
        let of = |id: &i64| rows.iter().filter(|order| order.customer_id == *id).cloned().collect();
        Ok::<Vec<Vec<Order>>, sqlx::Error>(customers.iter().map(of).collect())
    };
    let mut found = if shop.cached {
        Related::new(&QUERIES, "customer.orders").load([id], load).await.map_err(failed)?
    } else {
        load(vec![id]).await.map_err(failed)?
    };
    Ok(Json(found.pop().unwrap_or_default()))
}

async fn best(State(shop): State<Shop>) -> Answer<Vec<Best>> {
    let query = sqlx::query_as::<_, Best>(
        "SELECT name, sum(cents)::bigint AS cents FROM customers JOIN orders ON customer_id = customers.id
         GROUP BY name ORDER BY cents DESC LIMIT 10",
    );
    let rows = if shop.cached {
        query.from_cache(&QUERIES).fetch_all(&shop.pool).await.map_err(failed)?
    } else {
        query.fetch_all(&shop.pool).await.map_err(failed)?
    };
    Ok(Json(rows))
}
