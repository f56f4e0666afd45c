//! Cancers, and how each is treated here.
//!
//! Shares, ages and regimens are *illustrative*: they have the order of magnitude of what the Cancer Registry of Norway
//! publishes and no more. Nothing may be concluded from them. The codes are written from general knowledge of the code systems and have not been checked one by one.

use super::code::{Code, atc, icd10, icdo3, loinc, ncsp, nlk, snomed};

/// A drug as it is given in hospital.
#[derive(Clone, Copy, Debug)]
pub struct Drug {
    /// ATC.
    pub code: Code,
    /// Milligrams, or milligrams per square metre of body surface.
    pub dose_mg: f64,
    /// Whether the dose is per square metre.
    pub per_m2: bool,
    /// How it is given.
    pub route: Code,
}

/// A tumour marker.
#[derive(Clone, Copy, Debug)]
pub struct Marker {
    /// LOINC.
    pub code: Code,
    /// The same in NLK (NPU), where labs in Norway have one.
    pub npu: Option<Code>,
    /// UCUM.
    pub unit: &'static str,
    /// Its median at diagnosis.
    pub median: f64,
    /// Above this it is high.
    pub upper: f64,
}

/// A cancer site.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// ICD-10.
    pub code: Code,
    /// Its share of all new patients, relative to the others.
    pub weight: u32,
    /// Share of men.
    pub men: f64,
    /// Mean age at diagnosis, years.
    pub age: f64,
    /// Standard deviation of it, years.
    pub age_sd: f64,
    /// SNOMED CT body structure.
    pub body_site: Code,
    /// ICD-O-3 morphology.
    pub morphology: Code,
    /// How it is diagnosed.
    pub biopsy: Code,
    /// Whether TNM categories are recorded.
    pub tnm: bool,
    /// Operations to choose from; none if empty.
    pub surgery: &'static [Code],
    /// Share of patients that are operated.
    pub operated: f64,
    /// Fractions of a radiotherapy course.
    pub fractions: u16,
    /// Share of patients that are irradiated.
    pub irradiated: f64,
    /// Drugs of a cycle, one of which a visit gives; none if empty.
    pub drugs: &'static [Drug],
    /// Share of patients that get them.
    pub medicated: f64,
    /// Tumour markers that are followed.
    pub markers: &'static [Marker],
}

const IV: Code = snomed("47625008", "Intravenous route");
const SC: Code = snomed("34206005", "Subcutaneous route");
const IM: Code = snomed("78421000", "Intramuscular route");
const PO: Code = snomed("26643006", "Oral route");
const BLADDER: Code = snomed("372471009", "Intravesical route");

const BIOPSY: Code = snomed("86273004", "Biopsy");
const COLONOSCOPY: Code = snomed("73761001", "Colonoscopy");
const BRONCHOSCOPY: Code = snomed("10847001", "Bronchoscopy");

const fn flat(code: Code, dose_mg: f64, route: Code) -> Drug {
    Drug { code, dose_mg, per_m2: false, route }
}

const fn per_m2(code: Code, dose_mg: f64) -> Drug {
    Drug { code, dose_mg, per_m2: true, route: IV }
}

const PACLITAXEL: Code = atc("L01CD01", "paclitaxel");
const DOCETAXEL: Code = atc("L01CD02", "docetaxel");
const EPIRUBICIN: Code = atc("L01DB03", "epirubicin");
const DOXORUBICIN: Code = atc("L01DB01", "doxorubicin");
const CYCLOPHOSPHAMIDE: Code = atc("L01AA01", "cyclophosphamide");
const TRASTUZUMAB: Code = atc("L01FD01", "trastuzumab");
const CISPLATIN: Code = atc("L01XA01", "cisplatin");
const CARBOPLATIN: Code = atc("L01XA02", "carboplatin");
const OXALIPLATIN: Code = atc("L01XA03", "oxaliplatin");
const FLUOROURACIL: Code = atc("L01BC02", "fluorouracil");
const GEMCITABINE: Code = atc("L01BC05", "gemcitabine");
const PEMETREXED: Code = atc("L01BA04", "pemetrexed");
const ETOPOSIDE: Code = atc("L01CB01", "etoposide");
const PEMBROLIZUMAB: Code = atc("L01FF02", "pembrolizumab");
const NIVOLUMAB: Code = atc("L01FF01", "nivolumab");
const DURVALUMAB: Code = atc("L01FF03", "durvalumab");
const BEVACIZUMAB: Code = atc("L01FG01", "bevacizumab");
const RITUXIMAB: Code = atc("L01FA01", "rituximab");

const PSA: Marker = Marker {
    code: loinc("2857-1", "Prostate specific Ag [Mass/volume] in Serum or Plasma"),
    npu: Some(nlk("NPU08669", "P-Prostataspesifikt antigen")),
    unit: "ug/L",
    median: 14.0,
    upper: 4.0,
};
const CEA: Marker = Marker {
    code: loinc("2039-6", "Carcinoembryonic Ag [Mass/volume] in Serum or Plasma"),
    npu: None,
    unit: "ug/L",
    median: 9.0,
    upper: 5.0,
};
const CA125: Marker = Marker {
    code: loinc("10334-1", "Cancer Ag 125 [Units/volume] in Serum or Plasma"),
    npu: None,
    unit: "k[IU]/L",
    median: 320.0,
    upper: 35.0,
};
const CA15_3: Marker = Marker {
    code: loinc("6875-9", "Cancer Ag 15-3 [Units/volume] in Serum or Plasma"),
    npu: None,
    unit: "k[IU]/L",
    median: 24.0,
    upper: 30.0,
};
const CA19_9: Marker = Marker {
    code: loinc("24108-3", "Cancer Ag 19-9 [Units/volume] in Serum or Plasma"),
    npu: None,
    unit: "k[IU]/L",
    median: 240.0,
    upper: 37.0,
};
const AFP: Marker = Marker {
    code: loinc("1834-1", "Alpha-1-Fetoprotein [Mass/volume] in Serum or Plasma"),
    npu: None,
    unit: "ug/L",
    median: 40.0,
    upper: 10.0,
};
const LDH: Marker = Marker {
    code: loinc("14804-9", "Lactate dehydrogenase [Enzymatic activity/volume] in Serum or Plasma by Lactate to pyruvate reaction"),
    npu: None,
    unit: "U/L",
    median: 240.0,
    upper: 255.0,
};

/// All sites of the feed.
pub const SITES: &[Site] = &[
    Site {
        code: icd10("C61", "Ondartet svulst i blærehalskjertel (prostata)"),
        weight: 150,
        men: 1.0,
        age: 70.0,
        age_sd: 8.0,
        body_site: snomed("41216001", "Prostatic structure"),
        morphology: icdo3("8140/3", "Adenocarcinoma, NOS"),
        biopsy: BIOPSY,
        tnm: true,
        surgery: &[ncsp("KEC01", "Perkutan endoskopisk radikal prostatektomi"), ncsp("KEC00", "Retropubisk radikal prostatektomi")],
        operated: 0.42,
        fractions: 20,
        irradiated: 0.45,
        drugs: &[flat(atc("L02AE02", "leuprorelin"), 22.5, SC), flat(atc("L02AE04", "triptorelin"), 11.25, IM), per_m2(DOCETAXEL, 75.0)],
        medicated: 0.55,
        markers: &[PSA],
    },
    Site {
        code: icd10("C50.4", "Ondartet svulst i øvre laterale kvadrant av bryst"),
        weight: 118,
        men: 0.008,
        age: 62.0,
        age_sd: 12.0,
        body_site: snomed("76752008", "Breast structure"),
        morphology: icdo3("8500/3", "Infiltrating duct carcinoma, NOS"),
        biopsy: BIOPSY,
        tnm: true,
        surgery: &[ncsp("HAB40", "Reseksjon av bryst"), ncsp("HAB40", "Reseksjon av bryst"), ncsp("HAC20", "Mastektomi")],
        operated: 0.92,
        fractions: 15,
        irradiated: 0.75,
        drugs: &[per_m2(EPIRUBICIN, 90.0), per_m2(CYCLOPHOSPHAMIDE, 600.0), per_m2(PACLITAXEL, 80.0), flat(TRASTUZUMAB, 600.0, SC)],
        medicated: 0.62,
        markers: &[CA15_3],
    },
    Site {
        code: icd10("C34.1", "Ondartet svulst i øvre lungelapp"),
        weight: 82,
        men: 0.52,
        age: 71.0,
        age_sd: 9.0,
        body_site: snomed("45653009", "Structure of upper lobe of lung"),
        morphology: icdo3("8140/3", "Adenocarcinoma, NOS"),
        biopsy: BRONCHOSCOPY,
        tnm: true,
        surgery: &[ncsp("GDC01", "Torakoskopisk lobektomi av lunge"), ncsp("GDC00", "Lobektomi av lunge")],
        operated: 0.24,
        fractions: 33,
        irradiated: 0.45,
        drugs: &[flat(PEMBROLIZUMAB, 200.0, IV), flat(CARBOPLATIN, 500.0, IV), per_m2(PEMETREXED, 500.0)],
        medicated: 0.65,
        markers: &[CEA],
    },
    Site {
        code: icd10("C34.9", "Uspesifisert ondartet svulst i bronkie eller lunge"),
        weight: 26,
        men: 0.5,
        age: 69.0,
        age_sd: 8.0,
        body_site: snomed("39607008", "Lung structure"),
        morphology: icdo3("8041/3", "Small cell carcinoma, NOS"),
        biopsy: BRONCHOSCOPY,
        tnm: true,
        surgery: &[],
        operated: 0.0,
        fractions: 40,
        irradiated: 0.85,
        drugs: &[per_m2(CISPLATIN, 75.0), per_m2(ETOPOSIDE, 100.0), flat(DURVALUMAB, 1500.0, IV)],
        medicated: 0.95,
        markers: &[LDH],
    },
    Site {
        code: icd10("C18.7", "Ondartet svulst i colon sigmoideum"),
        weight: 46,
        men: 0.5,
        age: 71.0,
        age_sd: 11.0,
        body_site: snomed("60184004", "Sigmoid colon structure"),
        morphology: icdo3("8140/3", "Adenocarcinoma, NOS"),
        biopsy: COLONOSCOPY,
        tnm: true,
        surgery: &[ncsp("JFB46", "Reseksjon av colon sigmoideum")],
        operated: 0.88,
        fractions: 5,
        irradiated: 0.02,
        drugs: &[per_m2(OXALIPLATIN, 85.0), per_m2(FLUOROURACIL, 400.0), flat(BEVACIZUMAB, 375.0, IV)],
        medicated: 0.4,
        markers: &[CEA],
    },
    Site {
        code: icd10("C18.2", "Ondartet svulst i colon ascendens"),
        weight: 40,
        men: 0.44,
        age: 74.0,
        age_sd: 11.0,
        body_site: snomed("9040008", "Ascending colon structure"),
        morphology: icdo3("8140/3", "Adenocarcinoma, NOS"),
        biopsy: COLONOSCOPY,
        tnm: true,
        surgery: &[ncsp("JFB30", "Høyresidig hemikolektomi")],
        operated: 0.9,
        fractions: 5,
        irradiated: 0.0,
        drugs: &[per_m2(OXALIPLATIN, 85.0), per_m2(FLUOROURACIL, 400.0)],
        medicated: 0.36,
        markers: &[CEA],
    },
    Site {
        code: icd10("C20", "Ondartet svulst i endetarm"),
        weight: 36,
        men: 0.6,
        age: 69.0,
        age_sd: 11.0,
        body_site: snomed("34402009", "Rectum structure"),
        morphology: icdo3("8140/3", "Adenocarcinoma, NOS"),
        biopsy: COLONOSCOPY,
        tnm: true,
        surgery: &[ncsp("JGB00", "Reseksjon av rektum"), ncsp("JGB10", "Reseksjon av rektum med kolostomi")],
        operated: 0.8,
        fractions: 25,
        irradiated: 0.42,
        drugs: &[per_m2(OXALIPLATIN, 85.0), per_m2(FLUOROURACIL, 400.0)],
        medicated: 0.35,
        markers: &[CEA],
    },
    Site {
        code: icd10("C43.5", "Ondartet melanom i hud på kroppen"),
        weight: 74,
        men: 0.54,
        age: 65.0,
        age_sd: 14.0,
        body_site: snomed("86381001", "Skin structure of trunk"),
        morphology: icdo3("8720/3", "Malignant melanoma, NOS"),
        biopsy: BIOPSY,
        tnm: true,
        surgery: &[ncsp("QBE10", "Eksisjon av hudlesjon på trunkus")],
        operated: 0.97,
        fractions: 5,
        irradiated: 0.05,
        drugs: &[flat(NIVOLUMAB, 480.0, IV), flat(PEMBROLIZUMAB, 400.0, IV)],
        medicated: 0.28,
        markers: &[LDH],
    },
    Site {
        code: icd10("C67.9", "Uspesifisert ondartet svulst i urinblære"),
        weight: 50,
        men: 0.75,
        age: 73.0,
        age_sd: 10.0,
        body_site: snomed("89837001", "Urinary bladder structure"),
        morphology: icdo3("8120/3", "Transitional cell carcinoma, NOS"),
        biopsy: BIOPSY,
        tnm: true,
        surgery: &[ncsp("KCD02", "Transuretral reseksjon av blære")],
        operated: 0.92,
        fractions: 32,
        irradiated: 0.1,
        drugs: &[flat(atc("L03AX03", "BCG vaccine"), 81.0, BLADDER), per_m2(GEMCITABINE, 1000.0), per_m2(CISPLATIN, 70.0)],
        medicated: 0.5,
        markers: &[],
    },
    Site {
        code: icd10("C83.3", "Diffust storcellet B-cellelymfom"),
        weight: 30,
        men: 0.55,
        age: 68.0,
        age_sd: 13.0,
        body_site: snomed("59441001", "Structure of lymph node"),
        morphology: icdo3("9680/3", "Diffuse large B-cell lymphoma, NOS"),
        biopsy: BIOPSY,
        tnm: false,
        surgery: &[],
        operated: 0.0,
        fractions: 15,
        irradiated: 0.2,
        drugs: &[
            per_m2(RITUXIMAB, 375.0),
            per_m2(CYCLOPHOSPHAMIDE, 750.0),
            per_m2(DOXORUBICIN, 50.0),
            flat(atc("L01CA02", "vincristine"), 2.0, IV),
        ],
        medicated: 0.93,
        markers: &[LDH],
    },
    Site {
        code: icd10("C83.1", "Mantelcellelymfom"),
        weight: 6,
        men: 0.7,
        age: 70.0,
        age_sd: 9.0,
        body_site: snomed("59441001", "Structure of lymph node"),
        morphology: icdo3("9673/3", "Mantle cell lymphoma"),
        biopsy: BIOPSY,
        tnm: false,
        surgery: &[],
        operated: 0.0,
        fractions: 12,
        irradiated: 0.1,
        drugs: &[per_m2(RITUXIMAB, 375.0), per_m2(atc("L01AA09", "bendamustine"), 90.0)],
        medicated: 0.95,
        markers: &[LDH],
    },
    Site {
        code: icd10("C64", "Ondartet svulst i nyre, unntatt nyrebekken"),
        weight: 26,
        men: 0.66,
        age: 66.0,
        age_sd: 12.0,
        body_site: snomed("64033007", "Kidney structure"),
        morphology: icdo3("8312/3", "Renal cell carcinoma, NOS"),
        biopsy: BIOPSY,
        tnm: true,
        surgery: &[ncsp("KAC01", "Laparoskopisk nefrektomi"), ncsp("KAC00", "Nefrektomi")],
        operated: 0.78,
        fractions: 5,
        irradiated: 0.08,
        drugs: &[flat(NIVOLUMAB, 480.0, IV)],
        medicated: 0.3,
        markers: &[],
    },
    Site {
        code: icd10("C25.0", "Ondartet svulst i bukspyttkjertelhode"),
        weight: 24,
        men: 0.5,
        age: 71.0,
        age_sd: 10.0,
        body_site: snomed("64163001", "Structure of head of pancreas"),
        morphology: icdo3("8140/3", "Adenocarcinoma, NOS"),
        biopsy: BIOPSY,
        tnm: true,
        surgery: &[ncsp("JLC30", "Pankreatoduodenektomi")],
        operated: 0.22,
        fractions: 5,
        irradiated: 0.04,
        drugs: &[per_m2(GEMCITABINE, 1000.0), per_m2(PACLITAXEL, 125.0), per_m2(OXALIPLATIN, 85.0)],
        medicated: 0.6,
        markers: &[CA19_9],
    },
    Site {
        code: icd10("C54.1", "Ondartet svulst i livmorslimhinne"),
        weight: 22,
        men: 0.0,
        age: 68.0,
        age_sd: 11.0,
        body_site: snomed("2739003", "Endometrial structure"),
        morphology: icdo3("8380/3", "Endometrioid adenocarcinoma, NOS"),
        biopsy: BIOPSY,
        tnm: true,
        surgery: &[ncsp("LCD01", "Laparoskopisk hysterektomi"), ncsp("LCD00", "Hysterektomi")],
        operated: 0.93,
        fractions: 25,
        irradiated: 0.18,
        drugs: &[per_m2(PACLITAXEL, 175.0), flat(CARBOPLATIN, 500.0, IV)],
        medicated: 0.3,
        markers: &[CA125],
    },
    Site {
        code: icd10("C56", "Ondartet svulst i eggstokk"),
        weight: 15,
        men: 0.0,
        age: 65.0,
        age_sd: 13.0,
        body_site: snomed("15497006", "Ovarian structure"),
        morphology: icdo3("8441/3", "Serous cystadenocarcinoma, NOS"),
        biopsy: BIOPSY,
        tnm: true,
        surgery: &[ncsp("LAF10", "Bilateral salpingo-ooforektomi")],
        operated: 0.82,
        fractions: 10,
        irradiated: 0.02,
        drugs: &[per_m2(PACLITAXEL, 175.0), flat(CARBOPLATIN, 500.0, IV), flat(BEVACIZUMAB, 1100.0, IV)],
        medicated: 0.88,
        markers: &[CA125],
    },
    Site {
        code: icd10("C62.9", "Uspesifisert ondartet svulst i testikkel"),
        weight: 10,
        men: 1.0,
        age: 37.0,
        age_sd: 10.0,
        body_site: snomed("40689003", "Testis structure"),
        morphology: icdo3("9061/3", "Seminoma, NOS"),
        biopsy: BIOPSY,
        tnm: true,
        surgery: &[ncsp("KFC10", "Orkidektomi")],
        operated: 0.98,
        fractions: 10,
        irradiated: 0.05,
        drugs: &[flat(atc("L01DC01", "bleomycin"), 30.0, IV), per_m2(ETOPOSIDE, 100.0), per_m2(CISPLATIN, 20.0)],
        medicated: 0.5,
        markers: &[AFP],
    },
    Site {
        code: icd10("C71.1", "Ondartet svulst i frontallapp"),
        weight: 14,
        men: 0.58,
        age: 62.0,
        age_sd: 13.0,
        body_site: snomed("83251001", "Frontal lobe structure"),
        morphology: icdo3("9440/3", "Glioblastoma, NOS"),
        biopsy: BIOPSY,
        tnm: false,
        surgery: &[ncsp("AAB00", "Eksstirpasjon av intrakranial lesjon")],
        operated: 0.8,
        fractions: 30,
        irradiated: 0.85,
        drugs: &[flat(atc("L01AX03", "temozolomide"), 280.0, PO)],
        medicated: 0.75,
        markers: &[],
    },
    Site {
        code: icd10("C90.0", "Myelomatose"),
        weight: 16,
        men: 0.56,
        age: 71.0,
        age_sd: 10.0,
        body_site: snomed("14016003", "Bone marrow structure"),
        morphology: icdo3("9732/3", "Plasma cell myeloma"),
        biopsy: BIOPSY,
        tnm: false,
        surgery: &[],
        operated: 0.0,
        fractions: 5,
        irradiated: 0.15,
        drugs: &[flat(atc("L01XG01", "bortezomib"), 2.4, SC), flat(atc("L01FC01", "daratumumab"), 1800.0, SC)],
        medicated: 0.95,
        markers: &[],
    },
    Site {
        code: icd10("C16.9", "Uspesifisert ondartet svulst i magesekk"),
        weight: 13,
        men: 0.62,
        age: 71.0,
        age_sd: 12.0,
        body_site: snomed("69695003", "Stomach structure"),
        morphology: icdo3("8140/3", "Adenocarcinoma, NOS"),
        biopsy: BIOPSY,
        tnm: true,
        surgery: &[ncsp("JDD00", "Total gastrektomi")],
        operated: 0.5,
        fractions: 25,
        irradiated: 0.1,
        drugs: &[per_m2(DOCETAXEL, 50.0), per_m2(OXALIPLATIN, 85.0), per_m2(FLUOROURACIL, 400.0)],
        medicated: 0.6,
        markers: &[CEA],
    },
    Site {
        code: icd10("C73", "Ondartet svulst i skjoldbruskkjertel"),
        weight: 12,
        men: 0.28,
        age: 52.0,
        age_sd: 16.0,
        body_site: snomed("69748006", "Thyroid structure"),
        morphology: icdo3("8260/3", "Papillary adenocarcinoma, NOS"),
        biopsy: BIOPSY,
        tnm: true,
        surgery: &[ncsp("BAA60", "Total tyreoidektomi")],
        operated: 0.97,
        fractions: 30,
        irradiated: 0.03,
        drugs: &[flat(atc("H01AB01", "thyrotropin alfa"), 0.9, IM)],
        medicated: 0.25,
        markers: &[],
    },
];
