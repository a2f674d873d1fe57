//! Values and the bytes that they are stored as: none comes back as another one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use dogpile::backend::{AnyBackend, Backend, Memory, SerializedMemory};
use dogpile::codec::{Codec, CodecError, Json, MessagePack, Pickle};
use dogpile::value::Entry;
use dogpile::{Config, Error, Region};
use serde::de::{DeserializeOwned, DeserializeSeed};
use serde::{Deserialize, Serialize};

fn region(codec: impl Codec) -> Region {
    let region = Region::named("codecs");
    region.configure(Config::new(SerializedMemory::new(1_000)).codec(codec)).unwrap();
    region
}

fn regions() -> [Region; 4] {
    [region(Json), region(MessagePack), region(Pickle), region(Halves)]
}

/// A user's own codec, which loses half of each number.
struct Halves;

impl Codec for Halves {
    fn name(&self) -> &'static str {
        "halves"
    }

    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        let text = serde_json::to_string(value).map_err(CodecError::new)?;
        Ok(text.replace('9', "8").into_bytes())
    }

    fn decode<'de, S: DeserializeSeed<'de>>(
        &self,
        bytes: &'de [u8],
        target: S,
    ) -> Result<S::Value, CodecError> {
        Json.decode(bytes, target)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Small(u8),
    Large(u64),
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Unread {
    #[serde(skip_deserializing)]
    id: u32,
}

/// What is stored is what comes back, or nothing is stored: in any codec.
async fn comes_back_or_is_refused<T>(value: T)
where
    T: Serialize + DeserializeOwned + Clone + Send + Sync + std::fmt::Debug + 'static,
{
    for region in regions() {
        let made = region.get_or_create("created", async || value.clone()).await;
        assert_eq!(format!("{made:?}"), format!("{value:?}"), "the caller gets it in any case");
        let is_stored = match region.set("set", &value).await {
            Ok(()) => true,
            Err(Error::Encode { .. }) => false,
            Err(other) => panic!("{other}"),
        };
        for key in ["created", "set"] {
            let found = region.get::<T>(key).await.unwrap();
            let expected = is_stored.then(|| value.clone());
            assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{key}");
        }
        assert_eq!(region.statistics().not_stored, if is_stored { 0 } else { 2 });
    }
}

#[tokio::test]
async fn a_value_comes_back_as_it_is_or_is_not_stored() {
    comes_back_or_is_refused(Some(f64::NAN)).await;
    comes_back_or_is_refused(f64::NAN).await;
    comes_back_or_is_refused(vec![1.0, f64::INFINITY]).await;
    comes_back_or_is_refused(Some(f32::NEG_INFINITY)).await;
    comes_back_or_is_refused(-0.0_f64).await;
    comes_back_or_is_refused(Some(None::<u8>)).await;
    comes_back_or_is_refused(Some(Some(1_u8))).await;
    comes_back_or_is_refused(None::<Option<u8>>).await;
    comes_back_or_is_refused(Some(())).await;
    comes_back_or_is_refused(vec![Some(Some(())), None]).await;
    comes_back_or_is_refused(Untagged::Small(1)).await;
    comes_back_or_is_refused(Untagged::Large(1)).await;
    comes_back_or_is_refused(Untagged::Large(1_000)).await;
    comes_back_or_is_refused(Unread { id: 7 }).await;
    comes_back_or_is_refused(Unread { id: 0 }).await;
    comes_back_or_is_refused((u64::MAX, i64::MIN, 0.1_f32, 'x', 123_456_789)).await;
    comes_back_or_is_refused(HashMap::from([((1, 2), 3)])).await;
    comes_back_or_is_refused(BTreeMap::from([(true, "x".to_owned())])).await;
    comes_back_or_is_refused(u128::MAX).await;
    comes_back_or_is_refused("9".to_owned()).await;
}

#[tokio::test]
async fn what_a_codec_can_hold_is_stored() {
    let region = region(Json);
    region.set("none", &None::<f64>).await.unwrap();
    let set: HashSet<u32> = (0..100).collect();
    region.set("set", &set).await.unwrap();
    assert_eq!(region.get("set").await.unwrap(), Some(set));
    let map: HashMap<String, Vec<Option<f64>>> =
        (0..100).map(|n| (n.to_string(), vec![Some(0.1), None])).collect();
    region.set("map", &map).await.unwrap();
    assert_eq!(region.get("map").await.unwrap(), Some(map));
    let error = region.set("nan", &Some(f64::NAN)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`json` would give back another value"), "{text}");
}

mod before {
    use super::*;

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub(super) struct User {
        pub(super) id: u32,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub(super) enum Event {
        Seen { by: u32 },
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub(super) enum Tagged {
        Seen { by: u32 },
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub(super) struct Flat {
        #[serde(flatten)]
        pub(super) user: User,
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct User {
    id: u32,
    name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Event {
    Seen { by: u32, at: Option<u32> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Tagged {
    Seen { by: u32, at: Option<u32> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Flat {
    #[serde(flatten)]
    user: User,
}

/// What an old program has stored is a miss to a new one, and is created again.
async fn is_another_shape<Old, New>(old: Old, new: New)
where
    Old: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    New: Serialize + DeserializeOwned + Clone + Send + Sync + PartialEq + std::fmt::Debug + 'static,
{
    for region in [region(Json), region(MessagePack), region(Pickle)] {
        region.set("k", &old).await.unwrap();
        assert!(region.get::<Old>("k").await.unwrap().is_some());
        assert_eq!(region.get::<New>("k").await.unwrap(), None);
        assert_eq!(region.get_or_create("k", async || new.clone()).await, new);
        assert_eq!(region.get::<New>("k").await.unwrap().as_ref(), Some(&new));
        assert!(region.statistics().unreadable > 0);
    }
}

#[tokio::test]
async fn a_field_that_a_type_has_gained_is_never_read_as_none() {
    let (old, new) = (before::User { id: 1 }, User { id: 1, name: None });
    is_another_shape(old.clone(), new.clone()).await;
    is_another_shape(vec![Some(old.clone())], vec![Some(new.clone())]).await;
    is_another_shape(
        HashMap::from([("a".to_owned(), old.clone())]),
        HashMap::from([("a".to_owned(), new.clone())]),
    )
    .await;
    is_another_shape(before::Event::Seen { by: 1 }, Event::Seen { by: 1, at: None }).await;
    is_another_shape(before::Tagged::Seen { by: 1 }, Tagged::Seen { by: 1, at: None }).await;
    is_another_shape(before::Flat { user: old }, Flat { user: new }).await;
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Lenient {
    #[serde(alias = "number")]
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
}

#[tokio::test]
async fn fields_that_are_left_out_and_other_names_are_no_other_shape() {
    for region in [region(Json), region(MessagePack), region(Pickle)] {
        for value in [
            Lenient { id: 1, name: None, tags: vec![] },
            Lenient { id: 2, name: Some("n".into()), tags: vec!["t".into()] },
        ] {
            region.set("k", &value).await.unwrap();
            assert_eq!(region.get("k").await.unwrap(), Some(value));
        }
    }
}

#[tokio::test]
async fn what_python_writes_is_read_and_plain_values_are_written_as_python_does() {
    let backend = AnyBackend::new(SerializedMemory::new(10));
    let region = Region::named("shared");
    region.configure(Config::over(backend.clone())).unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for payload in [r#"{"id": 7, "name": null}"#, r#"{"number": 7, "more": [1]}"#] {
        let frame = format!(r#"{{"ct": {now}.5, "v": 2}}|{payload}"#);
        backend.set("k", Entry::from_frame(&frame.into_bytes().into())).await.unwrap();
        let expected = Lenient { id: 7, name: None, tags: vec![] };
        assert_eq!(region.get("k").await.unwrap(), Some(expected), "{payload}");
    }
    region.set("plain", &vec![Some(1), None]).await.unwrap();
    let frame = backend.get("plain").await.unwrap().unwrap().to_frame().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    assert!(text.ends_with(r#","v":2}|[1,null]"#), "{text}");
    region.set("user", &User { id: 1, name: None }).await.unwrap();
    let frame = backend.get("user").await.unwrap().unwrap().to_frame().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    assert!(text.ends_with(r#"}|{"id":1,"name":null}"#) && text.contains(r#","s":"#), "{text}");
}

#[tokio::test]
async fn another_version_has_entries_of_its_own() {
    let backend = AnyBackend::new(SerializedMemory::new(100));
    let with = |version: Option<&str>| {
        let region = Region::named("versions");
        let config = Config::<dogpile::Serialized>::over(backend.clone());
        region
            .configure(
                version.map_or(config, |_| Config::over(backend.clone()).version(version.unwrap())),
            )
            .unwrap();
        region
    };
    let regions = [with(None), with(Some("1")), with(Some("2")), with(Some("2:a"))];
    for (number, region) in regions.iter().enumerate() {
        region.set("k", &number).await.unwrap();
        region.set("a:k", &(number + 10)).await.unwrap();
    }
    for (number, region) in regions.iter().enumerate() {
        assert_eq!(region.get("k").await.unwrap(), Some(number));
        assert_eq!(region.get("a:k").await.unwrap(), Some(number + 10));
    }
    assert_eq!(regions[1].stored_key("k").unwrap(), "v1:k");
}

#[cfg(feature = "rc")]
#[tokio::test]
async fn plain_regions_hold_what_is_shared() {
    let region = region(Json);
    let value: Arc<u32> = region.get_or_create("arc", async || Arc::new(7)).await;
    assert_eq!((*value, region.get::<Arc<u32>>("arc").await.unwrap()), (7, Some(Arc::new(7))));
    let _: fn(Rc<u32>) -> Vec<u8> = |value| serde_json::to_vec(&value).unwrap();
}

#[tokio::test]
async fn what_weighs_nothing_is_bounded_too() {
    let memory = Arc::new(Memory::weighted(100, |_, _| 0));
    for number in 0..1_000 {
        memory.set(&number.to_string(), Entry::object(number, 1.0)).await.unwrap();
    }
    // A little more, since the bound is that of several shards.
    assert!(memory.len() <= 200, "{}", memory.len());
}
