use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[derive(Clone)]
struct User;

#[cached(region = R)]
async fn f(n: u8) -> Result<User, String> {
    let _ = n;
    Ok(User)
}

fn main() {}
