use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[cached(region = R)]
fn f(n: u8) -> std::pin::Pin<Box<dyn Future<Output = u8> + Send>> {
    Box::pin(async move { n })
}

fn main() {}
