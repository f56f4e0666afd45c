SELECT
  resource_id, patient_key, holder, encounter_key,
  CASE
    WHEN category_system = 'http://snomed.info/sct' AND category IN ('108290001', '1287742003') THEN 'radiotherapy'
    WHEN category_system = 'http://snomed.info/sct' AND category = '387713003' THEN 'surgery'
    WHEN code_system = 'urn:oid:2.16.578.1.12.4.1.1.7210' THEN 'surgery'
    ELSE 'other_procedure'
  END AS kind,
  code, code_system, code_display, status, started, ended
FROM procedure
WHERE status NOT IN ('entered-in-error', 'not-done', 'preparation')
UNION ALL
SELECT
  resource_id, patient_key, holder, encounter_key,
  'drug_administration' AS kind,
  code, code_system, code_display, status, started, ended
FROM medication_administration
WHERE status NOT IN ('entered-in-error', 'not-done')
UNION ALL
SELECT
  resource_id, patient_key, holder, encounter_key,
  'immunization' AS kind,
  code, code_system, code_display, status, started,
  -- An immunization takes a moment: a null of the type of `started`.
  NULLIF(started, started) AS ended
FROM immunization
WHERE status NOT IN ('entered-in-error', 'not-done')
