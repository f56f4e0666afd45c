//! What happens at a visit, as FHIR resources: the shapes follow mCODE (Minimal Common Oncology Data Elements).

use super::code::{AJCC, Code, UCUM, loinc, nlk, snomed};
use super::draft::{Draft, Style};
use super::patient::{Patient, gaussian, pick};
use super::site::{Drug, Marker};
use jiff::{SignedDuration, Timestamp};
use rand::RngExt;
use serde_json::{Value, json};

const SURGICAL: Code = snomed("387713003", "Surgical procedure");
const DIAGNOSTIC: Code = snomed("103693007", "Diagnostic procedure");
const RADIOTHERAPY: Code = snomed("1287742003", "Radiotherapy");
/// One fraction of external beam radiotherapy.
pub(super) const TELETHERAPY: Code = snomed("33195004", "External beam radiation therapy procedure");
/// What a visit for tumour marker and disease status is counted under.
pub(super) const DISEASE_STATUS: Code = loinc("97509-4", "Cancer disease progression");
const INFLUENZA: Code = super::code::atc("J07BB02", "influenza, inactivated, split virus or surface antigen");

const OUTPATIENT: Code = snomed("185349003", "Encounter for check up");
const INPATIENT: Code = snomed("305408004", "Admission to surgical department");

/// What a visit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Diagnosis,
    Operation,
    Drug,
    Radiotherapy,
    Control,
    Vaccination,
}

/// One measurement in blood that most visits take.
const BLOOD: &[(Code, &str, f64, f64); 5] = &[
    (nlk("NPU28309", "B-Hemoglobin"), "g/L", 124.0, 14.0),
    (nlk("NPU02593", "B-Leukocytter"), "10*9/L", 6.1, 1.9),
    (nlk("NPU03568", "B-Trombocytter"), "10*9/L", 236.0, 64.0),
    (nlk("NPU18016", "P-Kreatinin"), "umol/L", 76.0, 15.0),
    (nlk("NPU19748", "P-C-reaktivt protein"), "mg/L", 9.0, 4.0),
];

impl Draft<'_> {
    /// Writes the visit; returns the code that names what was done.
    pub fn visit(&mut self, purpose: Purpose, patient: &mut Patient, at: Timestamp) -> Code {
        patient.course.visits += 1;
        self.begin_visit(patient.course.visits);
        if self.hospital != patient.home && !patient.course.known_at_centre {
            patient.course.known_at_centre = true;
            let resource = self.patient(patient);
            self.put_own(resource);
        }
        match purpose {
            Purpose::Diagnosis => self.diagnosis(patient, at),
            Purpose::Operation => self.operation(patient, at),
            Purpose::Drug => self.drug(patient, at),
            Purpose::Radiotherapy => self.fraction(patient, at),
            Purpose::Control => self.control(patient, at),
            Purpose::Vaccination => self.vaccination(patient, at),
        }
    }

    fn diagnosis(&mut self, patient: &mut Patient, at: Timestamp) -> Code {
        // The first transaction of a patient is sent with the hospital's own ids: later ones refer to Patient and Condition.
        let style = std::mem::replace(&mut self.style, Style::Put);
        let site = patient.site;
        let resource = self.patient(patient);
        self.put_own(resource);
        let encounter = self.encounter(false, OUTPATIENT, site.code, at, at + SignedDuration::from_mins(70));
        let stages = self.staging(patient, &encounter, at, "c");
        let condition = self.condition(patient, &encounter, &stages, at);
        self.put_own(condition);
        self.procedure(site.biopsy, DIAGNOSTIC, patient, &encounter, at, 35);
        self.pathology(patient, &encounter, at);
        if site.code.code.starts_with("C50") {
            self.receptors(&encounter, at);
        }
        self.markers(patient, &encounter, at);
        self.performance(&encounter, at);
        if let Some(study) = patient.study {
            self.enrolment(&study.resource_id(), at);
        }
        self.style = style;
        site.biopsy
    }

    fn condition(&self, patient: &Patient, encounter: &str, stages: &[String], at: Timestamp) -> Value {
        let mut condition = json!({
            "resourceType": "Condition",
            "clinicalStatus": hl7("condition-clinical", "active"),
            "verificationStatus": hl7("condition-ver-status", "confirmed"),
            "category": [hl7("condition-category", "encounter-diagnosis")],
            "code": patient.site.code.concept(),
            "bodySite": [patient.site.body_site.concept()],
            "subject": self.subject(),
            "encounter": {"reference": encounter},
            "onsetDateTime": self.date(at),
            "recordedDate": self.time(at),
        });
        if !stages.is_empty() {
            let assessments: Vec<Value> = stages.iter().map(|stage| json!({"reference": stage})).collect();
            condition["stage"] = json!([{"summary": stage_group(patient.stage), "assessment": assessments}]);
        }
        condition
    }

    /// T, N, M and the stage group, clinical (`c`) or pathological (`p`); returns the references of the Observations.
    fn staging(&mut self, patient: &Patient, encounter: &str, at: Timestamp, basis: &str) -> Vec<String> {
        if patient.site.code.code.starts_with("C71") || patient.site.code.code.starts_with("C90") {
            return Vec::new();
        }
        let clinical = basis == "c";
        let group =
            if clinical { loinc("21908-9", "Stage group.clinical Cancer") } else { loinc("21902-2", "Stage group.pathology Cancer") };
        let mut written = Vec::new();
        if patient.site.tnm {
            let (t, n, m) = match patient.stage {
                1 => (pick(&["1", "2"], self.rng), "0", "0"),
                2 => (pick(&["2", "3"], self.rng), pick(&["0", "1"], self.rng), "0"),
                3 => (pick(&["3", "4"], self.rng), pick(&["1", "2"], self.rng), "0"),
                _ => (pick(&["3", "4"], self.rng), pick(&["1", "2"], self.rng), "1"),
            };
            let codes = if clinical {
                [
                    loinc("21905-5", "Primary tumor.clinical [Class] Cancer"),
                    loinc("21906-3", "Regional lymph nodes.clinical [Class] Cancer"),
                    loinc("21907-1", "Distant metastases.clinical [Class] Cancer"),
                ]
            } else {
                [
                    loinc("21899-0", "Primary tumor.pathology Cancer"),
                    loinc("21900-6", "Regional lymph nodes.pathology [Class] Cancer"),
                    loinc("21901-4", "Distant metastases.pathology [Class] Cancer"),
                ]
            };
            for (code, (letter, degree)) in codes.into_iter().zip([("T", t), ("N", n), ("M", m)]) {
                let category = format!("{basis}{letter}{degree}");
                let value = json!({"coding": [{"system": AJCC, "code": category, "display": category}]});
                let observation = self.observation(code, "procedure", encounter, at, json!({"valueCodeableConcept": value}));
                written.push(self.add(observation));
            }
        }
        let members: Vec<Value> = written.iter().map(|member| json!({"reference": member})).collect();
        let mut observation =
            self.observation(group, "procedure", encounter, at, json!({"valueCodeableConcept": stage_group(patient.stage)}));
        if !members.is_empty() {
            observation["hasMember"] = Value::Array(members);
        }
        written.push(self.add(observation));
        written
    }

    fn pathology(&mut self, patient: &Patient, encounter: &str, at: Timestamp) {
        let received = at + SignedDuration::from_hours(3);
        let specimen = json!({
            "resourceType": "Specimen",
            "status": "available",
            "type": snomed("119376003", "Tissue specimen").concept(),
            "subject": self.subject(),
            "receivedTime": self.time(received),
            "collection": {"collectedDateTime": self.time(at), "bodySite": patient.site.body_site.concept()},
        });
        let specimen = self.add(specimen);
        let report = json!({
            "resourceType": "DiagnosticReport",
            "status": "final",
            "category": [hl7("v2-0074", "SP")],
            "code": loinc("11529-5", "Surgical pathology study").concept(),
            "subject": self.subject(),
            "encounter": {"reference": encounter},
            "effectiveDateTime": self.time(at),
            "issued": self.time(received + SignedDuration::from_hours(46)),
            "specimen": [{"reference": specimen}],
            "conclusionCode": [patient.site.morphology.concept()],
        });
        self.add(report);
    }

    fn receptors(&mut self, encounter: &str, at: Timestamp) {
        let positive = snomed("10828004", "Positive");
        let negative = snomed("260385009", "Negative");
        for (code, share) in [
            (loinc("16112-5", "Estrogen receptor [Interpretation] in Tissue"), 0.84),
            (loinc("16113-3", "Progesterone receptor [Interpretation] in Tissue"), 0.7),
            (loinc("48676-1", "HER2 [Interpretation] in Tissue"), 0.14),
        ] {
            let value = if self.rng.random_bool(share) { positive } else { negative };
            let observation = self.observation(code, "laboratory", encounter, at, json!({"valueCodeableConcept": value.concept()}));
            self.add(observation);
        }
    }

    fn markers(&mut self, patient: &mut Patient, encounter: &str, at: Timestamp) {
        for marker in patient.site.markers {
            let value = marker.median * patient.course.burden;
            let observation = self.marker(marker, value, encounter, at);
            self.add(observation);
        }
    }

    fn marker(&self, marker: &Marker, value: f64, encounter: &str, at: Timestamp) -> Value {
        let quantity = json!({"value": rounded(value), "unit": marker.unit, "system": UCUM, "code": marker.unit});
        let mut observation = self.observation(marker.code, "laboratory", encounter, at, json!({"valueQuantity": quantity}));
        if let (Some(npu), Some(codings)) = (marker.npu, observation["code"]["coding"].as_array_mut()) {
            codings.push(npu.coding());
        }
        let code = if value > marker.upper { "H" } else { "N" };
        observation["interpretation"] = json!([hl7("v3-ObservationInterpretation", code)]);
        observation
    }

    fn performance(&mut self, encounter: &str, at: Timestamp) {
        let score = pick(&[0, 0, 0, 1, 1, 1, 2, 3], self.rng);
        let observation =
            self.observation(loinc("89247-1", "ECOG Performance Status score"), "survey", encounter, at, json!({"valueInteger": score}));
        self.add(observation);
    }

    fn operation(&mut self, patient: &mut Patient, at: Timestamp) -> Code {
        patient.course.operation_pending = false;
        let choices = patient.site.surgery;
        let Some(&code) = choices.get(self.rng.random_range(0..choices.len().max(1))) else { return self.control(patient, at) };
        let minutes = self.rng.random_range(60..260);
        let encounter =
            self.encounter(true, INPATIENT, patient.site.code, at - SignedDuration::from_hours(2), at + SignedDuration::from_mins(minutes));
        self.procedure(code, SURGICAL, patient, &encounter, at, minutes);
        if patient.site.tnm {
            self.staging(patient, &encounter, at, "p");
        }
        patient.course.burden *= 0.25;
        code
    }

    fn fraction(&mut self, patient: &mut Patient, at: Timestamp) -> Code {
        patient.course.fractions_left = patient.course.fractions_left.saturating_sub(1);
        patient.course.fractions_given += 1;
        patient.course.burden *= 0.97;
        let encounter = self.encounter(false, OUTPATIENT, patient.site.code, at, at + SignedDuration::from_mins(20));
        self.procedure(TELETHERAPY, RADIOTHERAPY, patient, &encounter, at, 12);
        let score = self.rng.random_range(0..6);
        let quantity = json!({"value": score, "unit": "{score}", "system": UCUM, "code": "{score}"});
        let pain = loinc("72514-3", "Pain severity - 0-10 verbal numeric rating [Score] - Reported");
        let observation = self.observation(pain, "survey", &encounter, at, json!({"valueQuantity": quantity}));
        self.add(observation);
        TELETHERAPY
    }

    fn procedure(&mut self, code: Code, category: Code, patient: &Patient, encounter: &str, at: Timestamp, minutes: i64) {
        let resource = json!({
            "resourceType": "Procedure",
            "status": "completed",
            "category": category.concept(),
            "code": code.concept(),
            "subject": self.subject(),
            "encounter": {"reference": encounter},
            "performedPeriod": {"start": self.time(at), "end": self.time(at + SignedDuration::from_mins(minutes))},
            "reasonCode": [patient.site.code.concept()],
            "bodySite": [patient.site.body_site.concept()],
        });
        self.add(resource);
    }

    fn drug(&mut self, patient: &mut Patient, at: Timestamp) -> Code {
        let drugs = patient.site.drugs;
        let index = usize::from(patient.course.cycles) % drugs.len().max(1);
        let Some(&drug) = drugs.get(index) else { return self.control(patient, at) };
        let encounter = self.encounter(false, OUTPATIENT, patient.site.code, at, at + SignedDuration::from_mins(150));
        let request = format!("{}-{}", self.own("MedicationRequest"), drug.code.code);
        if usize::from(patient.course.cycles) < drugs.len() {
            let prescription = self.prescription(&drug, patient, at);
            self.put(prescription, request.trim_start_matches("MedicationRequest/"));
        }
        patient.course.cycles += 1;
        patient.course.burden *= 0.9;
        let administration = self.administration(&drug, patient, &encounter, &request, at);
        self.add(administration);
        self.blood(&encounter, at);
        if self.rng.random_bool(0.05) {
            self.adverse_event(patient, &encounter, at);
        }
        drug.code
    }

    fn prescription(&self, drug: &Drug, patient: &Patient, at: Timestamp) -> Value {
        json!({
            "resourceType": "MedicationRequest",
            "status": "active",
            "intent": "order",
            "medicationCodeableConcept": drug.code.concept(),
            "subject": self.subject(),
            "authoredOn": self.time(at - SignedDuration::from_hours(20)),
            "reasonCode": [patient.site.code.concept()],
        })
    }

    fn administration(&self, drug: &Drug, patient: &Patient, encounter: &str, request: &str, at: Timestamp) -> Value {
        let dose = if drug.per_m2 { (drug.dose_mg * patient.surface_m2).round() } else { drug.dose_mg };
        json!({
            "resourceType": "MedicationAdministration",
            "status": "completed",
            "medicationCodeableConcept": drug.code.concept(),
            "subject": self.subject(),
            "context": {"reference": encounter},
            "effectivePeriod": {"start": self.time(at), "end": self.time(at + SignedDuration::from_mins(90))},
            "reasonCode": [patient.site.code.concept()],
            "request": {"reference": request},
            "dosage": {"route": drug.route.concept(), "dose": {"value": dose, "unit": "mg", "system": UCUM, "code": "mg"}},
        })
    }

    fn blood(&mut self, encounter: &str, at: Timestamp) {
        let (code, unit, mean, sd) = pick(BLOOD, self.rng);
        let value = (mean + sd * gaussian(self.rng)).max(mean * 0.2);
        let quantity = json!({"value": rounded(value), "unit": unit, "system": UCUM, "code": unit});
        let observation = self.observation(code, "laboratory", encounter, at, json!({"valueQuantity": quantity}));
        self.add(observation);
    }

    fn adverse_event(&mut self, patient: &Patient, encounter: &str, at: Timestamp) {
        const EVENTS: &[(Code, bool); 5] = &[
            (snomed("422587007", "Nausea"), false),
            (snomed("84229001", "Fatigue"), false),
            (snomed("409089005", "Febrile neutropenia"), true),
            (snomed("302226006", "Peripheral nerve disease"), false),
            (snomed("62315008", "Diarrhea"), false),
        ];
        let (event, serious) = pick(EVENTS, self.rng);
        let seriousness = if serious { "serious" } else { "non-serious" };
        let severity = if serious { "severe" } else { pick(&["mild", "moderate"], self.rng) };
        let mut resource = json!({
            "resourceType": "AdverseEvent",
            "actuality": "actual",
            "event": event.concept(),
            "subject": self.subject(),
            "encounter": {"reference": encounter},
            "date": self.time(at),
            "recordedDate": self.time(at),
            "seriousness": hl7("adverse-event-seriousness", seriousness),
            "severity": hl7("adverse-event-severity", severity),
            "outcome": hl7("adverse-event-outcome", "ongoing"),
        });
        if let Some(study) = patient.study {
            resource["study"] = json!([{"reference": format!("ResearchStudy/{}", study.resource_id())}]);
        }
        self.add(resource);
    }

    fn control(&mut self, patient: &mut Patient, at: Timestamp) -> Code {
        let encounter = self.encounter(false, OUTPATIENT, patient.site.code, at, at + SignedDuration::from_mins(40));
        let change = gaussian(self.rng) * 0.4;
        patient.course.burden = (patient.course.burden * change.exp()).clamp(0.01, 50.0);
        if patient.site.markers.is_empty() {
            self.blood(&encounter, at);
        } else {
            self.markers(patient, &encounter, at);
        }
        let status = match change {
            change if change > 0.35 => snomed("271299001", "Patient's condition worsened"),
            change if change < -0.2 => snomed("268910001", "Patient's condition improved"),
            _ => snomed("359746009", "Patient's condition stable"),
        };
        let mut observation =
            self.observation(DISEASE_STATUS, "therapy", &encounter, at, json!({"valueCodeableConcept": status.concept()}));
        if self.hospital == patient.home {
            observation["focus"] = json!([{"reference": self.own("Condition")}]);
        }
        self.add(observation);
        DISEASE_STATUS
    }

    fn vaccination(&mut self, patient: &mut Patient, at: Timestamp) -> Code {
        let encounter = self.encounter(false, OUTPATIENT, patient.site.code, at, at + SignedDuration::from_mins(15));
        let resource = json!({
            "resourceType": "Immunization",
            "status": "completed",
            "vaccineCode": INFLUENZA.concept(),
            "patient": self.subject(),
            "encounter": {"reference": encounter},
            "occurrenceDateTime": self.time(at),
            "primarySource": true,
            "protocolApplied": [{"doseNumberPositiveInt": 1}],
        });
        self.add(resource);
        self.blood(&encounter, at);
        INFLUENZA
    }

    fn enrolment(&mut self, study: &str, at: Timestamp) {
        let signed = at + SignedDuration::from_hours(72);
        let consent = json!({
            "resourceType": "Consent",
            "status": "active",
            "scope": hl7("consentscope", "research"),
            "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0", "display": "Consent Document"}]}],
            "patient": self.subject(),
            "dateTime": self.time(signed),
            "policyRule": {"text": "Samtykke til studien, versjon 1"},
            "provision": {
                "type": "permit",
                "period": {"start": self.date(signed)},
                "data": [{"meaning": "related", "reference": {"reference": format!("ResearchStudy/{study}")}}],
            },
        });
        let consent = self.add(consent);
        let research_subject = json!({
            "resourceType": "ResearchSubject",
            "status": "on-study",
            "period": {"start": self.date(signed)},
            "study": {"reference": format!("ResearchStudy/{study}")},
            "individual": self.subject(),
            "assignedArm": if self.rng.random_bool(0.5) { "A" } else { "B" },
            "consent": {"reference": consent},
        });
        self.add(research_subject);
    }

    /// An Observation with its value (a `value[x]` object of one member).
    fn observation(&self, code: Code, category: &str, encounter: &str, at: Timestamp, value: Value) -> Value {
        let mut observation = json!({
            "resourceType": "Observation",
            "status": "final",
            "category": [hl7("observation-category", category)],
            "code": code.concept(),
            "subject": self.subject(),
            "encounter": {"reference": encounter},
            "effectiveDateTime": self.time(at),
        });
        if let (Some(object), Value::Object(value)) = (observation.as_object_mut(), value) {
            object.extend(value);
        }
        observation
    }
}

/// A CodeableConcept of one of HL7's own code systems, named by the end of its URI.
fn hl7(system: &str, code: &str) -> Value {
    json!({"coding": [{"system": format!("http://terminology.hl7.org/CodeSystem/{system}"), "code": code}]})
}

fn stage_group(stage: u8) -> Value {
    let roman = ["I", "II", "III", "IV"].get(usize::from(stage.saturating_sub(1))).copied().unwrap_or("IV");
    json!({"coding": [{"system": AJCC, "code": roman, "display": format!("Stage {roman}")}]})
}

/// Three significant digits or so: what a laboratory reports.
fn rounded(value: f64) -> f64 {
    if value >= 100.0 { value.round() } else { (value * 10.0).round().max(1.0) / 10.0 }
}
