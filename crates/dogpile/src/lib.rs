//! x

#[cfg(test)]
use pollster as _;

pub mod backend;
mod blocking;
pub mod clock;
pub mod codec;
#[cfg(feature = "config")]
pub mod config;
mod error;
pub mod invalidation;
pub mod key;
pub mod lock;
mod log;
pub mod proxy;
mod region;
pub mod stats;
mod sync;
pub mod value;

pub use error::{Error, Failure, Result};
pub use invalidation::Mode;
pub use lock::{OnTimeout, Status};
pub use region::*;
