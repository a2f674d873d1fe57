use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[cached(region = R, should_cache = |text: &String| text.is_empty())]
fn f(n: u8) -> u8 {
    n
}

fn main() {}
