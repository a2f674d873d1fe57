use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[cached(region = R)]
fn f(n: u8) {
    drop(n);
}

fn main() {}
