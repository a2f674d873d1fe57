use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[cached(region = R, expiration = 1.5)]
fn f(n: u8) -> u8 {
    n
}

fn main() {}
