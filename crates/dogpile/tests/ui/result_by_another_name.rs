use dogpile::{Region, cached};

static R: Region = Region::new("r");

type Answer = std::result::Result<u8, String>;

#[cached(region = R)]
fn f(n: u8) -> Answer {
    Ok(n)
}

fn main() {}
