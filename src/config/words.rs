//! Values as options and files spell them.

/// Shows the values of enums by the words that options have for them.
macro_rules! shown_as_options {
    ($($type:ty),+) => {
        $(impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(clap::ValueEnum::to_possible_value(self).expect("no value is hidden").get_name())
            }
        })+
    };
}

/// Lets files hold a type by its text, for `#[serde(try_from = "String", into = "String")]`.
macro_rules! stored_as_text {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = crate::Error;

            fn try_from(text: String) -> crate::Result<Self> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}
