//! ICD-10, as far as statistics tables need it: its chapters, and the blocks of chapter II. The ranges and titles are
//! those of the World Health Organization's classification, which the Norwegian edition shares.

/// A range of three-character categories.
pub(super) struct Range {
    /// The code of the chapter or block.
    pub code: &'static str,
    /// The first category, such as `C00`.
    pub first: &'static str,
    /// The last category.
    pub last: &'static str,
    /// Its title.
    pub label: &'static str,
}

const fn range(code: &'static str, first: &'static str, last: &'static str, label: &'static str) -> Range {
    Range { code, first, last, label }
}

/// The position of the range that holds a code such as `C50.9`, `C509` or `C50`. Categories order as text.
pub(super) fn find(ranges: &[Range], code: &str) -> Option<usize> {
    let category = code.get(..3)?;
    let mut bytes = category.bytes();
    let letter = bytes.next().is_some_and(|b| b.is_ascii_uppercase());
    if !letter || !bytes.all(|b| b.is_ascii_digit()) {
        return None;
    }
    ranges.iter().position(|r| r.first <= category && category <= r.last)
}

pub(super) const CHAPTERS: [Range; 22] = [
    range("I", "A00", "B99", "Certain infectious and parasitic diseases"),
    range("II", "C00", "D48", "Neoplasms"),
    range("III", "D50", "D89", "Diseases of the blood and certain disorders involving the immune mechanism"),
    range("IV", "E00", "E90", "Endocrine, nutritional and metabolic diseases"),
    range("V", "F00", "F99", "Mental and behavioural disorders"),
    range("VI", "G00", "G99", "Diseases of the nervous system"),
    range("VII", "H00", "H59", "Diseases of the eye and adnexa"),
    range("VIII", "H60", "H95", "Diseases of the ear and mastoid process"),
    range("IX", "I00", "I99", "Diseases of the circulatory system"),
    range("X", "J00", "J99", "Diseases of the respiratory system"),
    range("XI", "K00", "K93", "Diseases of the digestive system"),
    range("XII", "L00", "L99", "Diseases of the skin and subcutaneous tissue"),
    range("XIII", "M00", "M99", "Diseases of the musculoskeletal system and connective tissue"),
    range("XIV", "N00", "N99", "Diseases of the genitourinary system"),
    range("XV", "O00", "O99", "Pregnancy, childbirth and the puerperium"),
    range("XVI", "P00", "P96", "Certain conditions originating in the perinatal period"),
    range("XVII", "Q00", "Q99", "Congenital malformations, deformations and chromosomal abnormalities"),
    range("XVIII", "R00", "R99", "Symptoms, signs and abnormal clinical and laboratory findings"),
    range("XIX", "S00", "T98", "Injury, poisoning and certain other consequences of external causes"),
    range("XX", "V01", "Y98", "External causes of morbidity and mortality"),
    range("XXI", "Z00", "Z99", "Factors influencing health status and contact with health services"),
    range("XXII", "U00", "U99", "Codes for special purposes"),
];

pub(super) const NEOPLASM_BLOCKS: [Range; 18] = [
    range("C00-C14", "C00", "C14", "Malignant neoplasms of lip, oral cavity and pharynx"),
    range("C15-C26", "C15", "C26", "Malignant neoplasms of digestive organs"),
    range("C30-C39", "C30", "C39", "Malignant neoplasms of respiratory and intrathoracic organs"),
    range("C40-C41", "C40", "C41", "Malignant neoplasms of bone and articular cartilage"),
    range("C43-C44", "C43", "C44", "Melanoma and other malignant neoplasms of skin"),
    range("C45-C49", "C45", "C49", "Malignant neoplasms of mesothelial and soft tissue"),
    range("C50-C50", "C50", "C50", "Malignant neoplasm of breast"),
    range("C51-C58", "C51", "C58", "Malignant neoplasms of female genital organs"),
    range("C60-C63", "C60", "C63", "Malignant neoplasms of male genital organs"),
    range("C64-C68", "C64", "C68", "Malignant neoplasms of urinary tract"),
    range("C69-C72", "C69", "C72", "Malignant neoplasms of eye, brain and other parts of central nervous system"),
    range("C73-C75", "C73", "C75", "Malignant neoplasms of thyroid and other endocrine glands"),
    range("C76-C80", "C76", "C80", "Malignant neoplasms of ill-defined, secondary and unspecified sites"),
    range("C81-C96", "C81", "C96", "Malignant neoplasms of lymphoid, haematopoietic and related tissue"),
    range("C97-C97", "C97", "C97", "Malignant neoplasms of independent (primary) multiple sites"),
    range("D00-D09", "D00", "D09", "In situ neoplasms"),
    range("D10-D36", "D10", "D36", "Benign neoplasms"),
    range("D37-D48", "D37", "D48", "Neoplasms of uncertain or unknown behaviour"),
];
