use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[cached(region = R, key = (n, m), skip(m))]
fn f(n: u8, m: u8) -> u8 {
    n + m
}

fn main() {}
