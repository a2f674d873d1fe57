//! The settings of a region that are names and words, and what they stand for.

use std::time::Duration;

use crate::codec::RegionCodec;
use crate::key;
use crate::lock::OnWaitTimeout;
use crate::region::{Early, Expiration, ManglerChoice};
use crate::settings::{FromSetting, Scalar, coerce};

/// An expiration time: `none` and Python's -1 are never.
pub(super) struct Age(pub(super) Expiration);

impl FromSetting for Age {
    const EXPECTED: &'static str = Duration::EXPECTED;

    fn from_setting(text: &str) -> Option<Self> {
        match coerce(text) {
            Scalar::None | Scalar::Int(-1) => Some(Self(Expiration::Never)),
            _ => Duration::from_setting(text).map(|lifetime| Self(lifetime.into())),
        }
    }
}

/// A part of a whole.
pub(super) struct Share(pub(super) f64);

impl FromSetting for Share {
    const EXPECTED: &'static str = "a number from 0 to 1";

    fn from_setting(text: &str) -> Option<Self> {
        let share = text.trim().parse().ok()?;
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }
}

/// The moment from which a value is created again.
pub(super) struct EarlyName(pub(super) Early);

impl FromSetting for EarlyName {
    const EXPECTED: &'static str = "`adaptive`, or a number from 0 to 1";

    fn from_setting(text: &str) -> Option<Self> {
        match text.trim() {
            "adaptive" => Some(Self(Early::adaptive())),
            share => Share::from_setting(share).map(|share| Self(Early::at(share.0))),
        }
    }
}

pub(super) struct ManglerName(pub(super) ManglerChoice);

impl FromSetting for ManglerName {
    const EXPECTED: &'static str =
        "`sha1` (with the feature of that name), `none` or `prefix:TEXT`";

    fn from_setting(text: &str) -> Option<Self> {
        match text.trim() {
            "none" | "None" => Some(Self(ManglerChoice::None)),
            #[cfg(feature = "sha1")]
            "sha1" => Some(Self(ManglerChoice::Own(key::sha1()))),
            text => {
                let prefix = text.strip_prefix("prefix:")?;
                Some(Self(ManglerChoice::Own(key::prefix(prefix))))
            }
        }
    }
}

/// The place of the moments of a region's invalidations.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum InvalidationPlace {
    Local,
    Shared,
}

impl FromSetting for InvalidationPlace {
    const EXPECTED: &'static str = "`local` or `shared`";

    fn from_setting(text: &str) -> Option<Self> {
        match text.trim() {
            "local" => Some(Self::Local),
            "shared" => Some(Self::Shared),
            _ => None,
        }
    }
}

impl FromSetting for OnWaitTimeout {
    const EXPECTED: &'static str = "`error`, `stale` or `create`";

    fn from_setting(text: &str) -> Option<Self> {
        match text.trim() {
            "error" => Some(Self::Error),
            "stale" => Some(Self::Stale),
            "create" => Some(Self::Create),
            _ => None,
        }
    }
}

pub(super) struct CodecName(pub(super) RegionCodec);

impl FromSetting for CodecName {
    const EXPECTED: &'static str = "`json`, or with the feature of that name `msgpack` or `pickle`";

    fn from_setting(text: &str) -> Option<Self> {
        match text.trim() {
            "json" => Some(Self(RegionCodec::Json)),
            #[cfg(feature = "msgpack")]
            "msgpack" => Some(Self(RegionCodec::MessagePack)),
            #[cfg(feature = "pickle")]
            "pickle" => Some(Self(RegionCodec::Own(std::sync::Arc::new(crate::codec::Pickle)))),
            _ => None,
        }
    }
}
