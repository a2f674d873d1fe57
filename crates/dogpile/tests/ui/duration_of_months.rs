use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[cached(region = R, wait_timeout = 5M)]
fn f(n: u8) -> u8 {
    n
}

fn main() {}
