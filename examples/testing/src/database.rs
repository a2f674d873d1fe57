//! Stands for a database: rows in memory, a count of the queries, and a plug that can be pulled.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Product;

/// The products, and how many pieces there are of each.
#[derive(Debug, Default)]
pub struct Database {
    rows: Mutex<BTreeMap<u64, (Product, u64)>>,
    queries: AtomicUsize,
    is_down: AtomicBool,
}

/// The database does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable;

impl Database {
    /// Returns a database with three products.
    pub fn with_products() -> Self {
        let database = Self::default();
        for (id, name, pieces) in [(1, "Lamp", 4), (2, "Chair", 1), (3, "Table", 0)] {
            database.put(Product { id, name: name.to_owned(), cents: 4_900 }, pieces);
        }
        database
    }

    /// Stores a product, past the service.
    pub fn put(&self, product: Product, pieces: u64) {
        self.rows().insert(product.id, (product, pieces));
    }

    /// Lets every query fail from now on, or none.
    pub fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    /// Returns how many queries there were.
    pub fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }

    pub(crate) fn product(&self, id: u64) -> Ready<Result<Option<Product>, Unreachable>> {
        ready(self.query(|rows| rows.get(&id).map(|(product, _)| product.clone())))
    }

    pub(crate) fn product_ids(&self) -> Result<Vec<u64>, Unreachable> {
        self.query(|rows| rows.keys().copied().collect())
    }

    pub(crate) fn stock(&self, ids: &[u64]) -> Ready<Result<Vec<u64>, Unreachable>> {
        let pieces = |rows: &BTreeMap<u64, (Product, u64)>, id| rows.get(id).map_or(0, |row| row.1);
        ready(self.query(|rows| ids.iter().map(|id| pieces(rows, id)).collect()))
    }

    pub(crate) fn pieces(&self) -> Result<u64, Unreachable> {
        self.query(|rows| rows.values().map(|(_, pieces)| pieces).sum())
    }

    pub(crate) fn take(&self, id: u64) -> Result<bool, Unreachable> {
        self.query(|rows| match rows.get_mut(&id) {
            Some((_, pieces)) if *pieces > 0 => {
                *pieces -= 1;
                true
            }
            _ => false,
        })
    }

    fn query<T>(
        &self,
        run: impl FnOnce(&mut BTreeMap<u64, (Product, u64)>) -> T,
    ) -> Result<T, Unreachable> {
        self.queries.fetch_add(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Unreachable);
        }
        Ok(run(&mut self.rows()))
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<u64, (Product, u64)>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the database does not answer")
    }
}

impl std::error::Error for Unreachable {}
