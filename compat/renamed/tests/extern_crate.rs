//! A crate that has dogpile by another name, and says so once for all attributes.

extern crate stash as dogpile;

use stash::backend::Memory;
use stash::{Config, Region};

static REGION: Region = Region::new("extern crate");

#[stash::cached(region = REGION)]
fn doubled(n: u32) -> u32 {
    n * 2
}

#[derive(stash::key::KeyPart)]
struct Id(u32);

#[stash::cached(region = REGION)]
fn tripled(id: &Id) -> u32 {
    id.0 * 3
}

#[test]
fn one_extern_crate_serves_all_attributes() {
    REGION.configure(Config::new(Memory::new(10))).unwrap();
    assert_eq!((doubled(4), doubled::get(4).unwrap()), (8, Some(8)));
    assert_eq!((tripled(&Id(4)), tripled::get(&Id(4)).unwrap()), (12, Some(12)));
}
