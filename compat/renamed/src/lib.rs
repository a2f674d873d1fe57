//! A crate that has dogpile by another name, and one that has it only as part of
//! another: the attributes are told its path.

/// Stands for a crate that re-exports dogpile.
pub mod facade {
    pub use stash as cache;
}

#[cfg(test)]
#[allow(
    clippy::unnecessary_wraps,
    clippy::unused_async,
    reason = "functions are as short as can be"
)]
mod tests {
    use stash::backend::Memory;
    use stash::{Config, Region};

    static REGION: Region = Region::new("renamed");

    #[stash::cached(region = REGION, expiration = "5m", crate = stash)]
    fn renamed(n: u32) -> Result<u32, String> {
        Ok(n + 1)
    }

    #[crate::facade::cache::cached(region = REGION, crate = crate::facade::cache)]
    async fn exported(n: u32) -> u32 {
        n + 2
    }

    #[stash::cached_multi(region = REGION, crate = stash)]
    fn many(all: &[u32]) -> Vec<u32> {
        all.iter().map(|n| n + 3).collect()
    }

    #[test]
    fn attributes_take_the_path_of_the_crate() {
        REGION.configure(Config::new(Memory::new(10))).unwrap();
        assert_eq!((renamed(1), renamed::get(1).unwrap()), (Ok(2), Some(2)));
        assert_eq!(pollster::block_on(exported(1)), 3);
        assert_eq!(pollster::block_on(exported::get(1)).unwrap(), Some(3));
        assert_eq!(many(&[1, 2]), [4, 5]);
    }
}
