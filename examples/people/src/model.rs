//! People have addresses, an address has a postal code, that belongs to a city, and
//! that to a country.

macro_rules! table {
    (
        $module:ident, $name:literal, $($field:ident: $kind:ty),*;
        $($relation:ident: $how:tt $other:ident $(by $from:literal)?),*
    ) => {
        pub(crate) mod $module {
            use sea_orm::entity::prelude::*;
            use serde::{Deserialize, Serialize};

            #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Serialize, Deserialize)]
            #[sea_orm(table_name = $name)]
            pub(crate) struct Model {
                #[sea_orm(primary_key)]
                pub(crate) id: i32,
                $(pub(crate) $field: $kind,)*
            }

            #[derive(Copy, Clone, Debug, EnumIter)]
            pub(crate) enum Relation {
                $($relation),*
            }

            impl RelationTrait for Relation {
                fn def(&self) -> RelationDef {
                    match *self {
                        $(Self::$relation => table!(@def $how $other $($from)?),)*
                    }
                }
            }

            $(
                impl Related<super::$other::Entity> for Entity {
                    fn to() -> RelationDef {
                        Relation::$relation.def()
                    }
                }
            )*

            impl ActiveModelBehavior for ActiveModel {}
        }
    };
    (@def has_many $other:ident) => {
        Entity::has_many(super::$other::Entity).into()
    };
    (@def belongs_to $other:ident $from:literal) => {
        Entity::belongs_to(super::$other::Entity)
            .from($from.parse::<Column>().unwrap_or(Column::Id))
            .to(super::$other::Column::Id)
            .into()
    };
}

table!(person, "people", name: String; Addresses: has_many address);
table!(
    address, "addresses", person_id: i32, street: String, postal_code_id: i32;
    Person: belongs_to person by "person_id",
    PostalCode: belongs_to postal_code by "postal_code_id"
);
table!(
    postal_code, "postal_codes", code: String, city_id: i32;
    City: belongs_to city by "city_id"
);
table!(
    city, "cities", name: String, country_id: i32;
    Country: belongs_to country by "country_id"
);
table!(country, "countries", name: String;);
