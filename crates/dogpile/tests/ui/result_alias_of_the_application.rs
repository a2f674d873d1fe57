use dogpile::{Region, cached};

static R: Region = Region::new("r");

struct AppError;
type AppResult<T> = std::result::Result<T, AppError>;

#[cached(region = R)]
async fn f(n: u8) -> AppResult<Vec<u8>> {
    Ok(vec![n])
}

fn main() {}
