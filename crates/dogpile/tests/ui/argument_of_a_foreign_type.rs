use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[cached(region = R)]
fn f(list: Option<Vec<std::process::Command>>) -> u8 {
    list.is_some().into()
}

fn main() {}
