//! Opening the region under test.

use std::sync::Arc;
use std::time::Duration;

use dogpile::backend::{
    AnyBackend, BackendError, File, Memcached, Memory, Redis, SerializedMemory,
};
use dogpile::invalidation::SharedInvalidation;
use dogpile::proxy::Logging;
use dogpile::{Config, Near, Region};

use crate::by_hand::ByHand;
use crate::plan::{Around, Job, LEASE, Place};

/// More than there ever are.
const CAPACITY: usize = 1_000;

/// Opens the region that `job` asks for.
pub fn open(job: &Job) -> Result<Region, Box<dyn std::error::Error>> {
    let backend = backend(&job.place, job.time_out)?;
    let under = job.sabotage.map_or(backend.clone(), |sabotage| sabotage.under(backend.clone()));
    let mut config = Config::over(under).keep_when_down(job.keep_when_down);
    let is_shared = !matches!(job.place, Place::Memory | Place::Serialized);
    if is_shared && job.change.is_of_the_region() {
        let strategy = SharedInvalidation::new(backend, "history", job.change.delay());
        config = config.invalidation(Arc::new(strategy));
    }
    if let Some(sabotage) = job.sabotage {
        config = sabotage.around(config);
    }
    config = match job.around {
        Some(Around::Logging) => config.proxy(Logging),
        Some(Around::ByHand) => config.proxy(ByHand::new()),
        None => config,
    };
    if let Some(bound) = job.near {
        config = config.near(Near::entries(CAPACITY).max_staleness(bound));
    }
    let region = Region::new("history");
    region.configure(config)?;
    Ok(region)
}

fn backend(place: &Place, limit: Duration) -> Result<AnyBackend, BackendError> {
    Ok(match place {
        Place::Memory => AnyBackend::new(Memory::new(CAPACITY)),
        Place::Serialized => AnyBackend::new(SerializedMemory::new(CAPACITY)),
        Place::File(path) => AnyBackend::new(File::open(path)?),
        Place::Redis(url) => {
            let builder = Redis::builder(url)?.lock_lease(LEASE);
            AnyBackend::new(builder.connect_timeout(limit).response_timeout(limit).open()?)
        }
        Place::Memcached(places) => {
            let Some((first, rest)) = places.split_first() else {
                return Err(BackendError::other("there is no server"));
            };
            let builder = Memcached::builder(&format!("memcached://{first}"))?.lock_lease(LEASE);
            let builder = rest.iter().try_fold(builder, |builder, place| builder.server(place))?;
            AnyBackend::new(builder.connect_timeout(limit).response_timeout(limit).open()?)
        }
    })
}
