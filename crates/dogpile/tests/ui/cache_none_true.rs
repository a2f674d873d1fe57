use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[cached(region = R, cache_none = true)]
fn f(n: u8) -> Option<u8> {
    Some(n)
}

fn main() {}
