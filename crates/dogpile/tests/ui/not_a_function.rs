use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[cached(region = R)]
struct S;

fn main() {}
