use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[cached(region = R)]
fn f(text: &str) -> &str {
    text
}

fn main() {}
