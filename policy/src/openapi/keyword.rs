//! The keywords of schemas: what each holds, by version of OpenAPI.

use super::document::Version;

/// What becomes of a keyword.
pub(super) enum Keyword {
    /// Kept as it stands.
    Keep,
    /// Holds a schema.
    Schema,
    /// Holds a list of schemas.
    Schemas,
    /// Holds schemas by names of the author's.
    Named,
    /// Holds schemas by patterns of names.
    Patterns,
    /// Holds plain values.
    Value,
    /// Holds a pattern.
    Pattern,
    /// Holds a bound, or in 3.0 a flag about one.
    Bound,
    /// Says nothing that decides.
    Documentation,
    /// Says which alternative to look at.
    Discriminator,
    /// Not a keyword, or one that nothing here understands.
    Unknown,
    /// Read together with another keyword.
    Elsewhere,
}

/// What becomes of this keyword.
pub(super) fn meaning(key: &str, version: Version) -> Keyword {
    match key {
        "title" | "description" | "type" | "format" | "multipleOf" | "maximum" | "minimum"
        | "maxLength" | "minLength" | "maxItems" | "minItems" | "uniqueItems" | "maxProperties"
        | "minProperties" | "required" | "deprecated" | "readOnly" | "writeOnly" => Keyword::Keep,
        "items" | "not" | "additionalProperties" => Keyword::Schema,
        "allOf" | "anyOf" | "oneOf" => Keyword::Schemas,
        "properties" => Keyword::Named,
        "default" | "enum" => Keyword::Value,
        "pattern" => Keyword::Pattern,
        "exclusiveMinimum" | "exclusiveMaximum" => Keyword::Bound,
        "discriminator" => Keyword::Discriminator,
        "example" | "examples" | "externalDocs" | "xml" | "$comment" | "$schema" => {
            Keyword::Documentation
        }
        key if key.starts_with("x-") => Keyword::Documentation,
        "nullable" if version == Version::V30 => Keyword::Elsewhere,
        _ if version == Version::V30 => Keyword::Unknown,
        "contentEncoding" | "contentMediaType" | "minContains" | "maxContains"
        | "dependentRequired" => Keyword::Keep,
        "if"
        | "then"
        | "else"
        | "contains"
        | "propertyNames"
        | "unevaluatedItems"
        | "unevaluatedProperties"
        | "contentSchema" => Keyword::Schema,
        "prefixItems" => Keyword::Schemas,
        "dependentSchemas" => Keyword::Named,
        "patternProperties" => Keyword::Patterns,
        "const" => Keyword::Value,
        // References name these by pointer, and are followed.
        "$defs" | "definitions" => Keyword::Elsewhere,
        _ => Keyword::Unknown,
    }
}
