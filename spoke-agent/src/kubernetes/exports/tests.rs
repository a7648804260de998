use axle_core::model::Traits;

use super::*;

fn export(text: &str) -> Raw<ServiceExport> {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn an_export_is_as_old_as_its_object() {
    let wish = |text: &str| super::wish(&export(text));
    let bare = wish("{metadata: {namespace: shop, name: web, creationTimestamp: \"1970-01-01T00:00:07Z\"}}").unwrap();
    assert_eq!((bare.created_ms, bare.labels.len()), (Some(7000), 0));
    let full = "{metadata: {namespace: shop, name: web}, spec: {exportedLabels: {a: b}, exportedAnnotations: {c: d}}}";
    let full = wish(full).unwrap();
    assert_eq!((full.labels["a"].as_str(), full.annotations["c"].as_str()), ("b", "d"));
    let wrong = wish("{metadata: {namespace: shop, name: Web}}").unwrap_err();
    assert!(wrong.contains("ServiceExport shop/Web"), "{wrong}");
}

#[test]
fn conditions_have_the_reasons_of_the_specification() {
    let own = Uid([1; 16]);
    let of = |missing, import: Option<&ServiceImport>| {
        conditions(missing, import, own).map(|said| format!("{} {:?} {}", said.kind, said.status, said.reason))
    };
    let none = "Conflict False NoConflicts";
    assert_eq!(of(Some(Missing::NoService), None), ["Valid False NoService", "Ready False Pending", none]);
    assert_eq!(of(Some(Missing::ExternalName), None)[0], "Valid False InvalidServiceType");
    assert_eq!(of(Some(Missing::Pending), None), ["Valid True Valid", "Ready False Pending", none]);
    let name = |text: &str| Name::new(text).unwrap();
    let conflict = |cluster, reason: &str| ServiceConflict { cluster, reason: reason.into(), message: "m".into() };
    let mut import = ServiceImport {
        namespace: name("shop"),
        name: name("web"),
        vips: vec![],
        ports: vec![],
        clusters: vec![Uid([2; 16])],
        conflicts: vec![conflict(Uid([2; 16]), "TypeConflict")],
        traits: Traits::default(),
    };
    assert_eq!(of(None, Some(&import)), ["Valid True Valid", "Ready False Pending", none], "only another's");
    import.clusters.push(own);
    assert_eq!(of(None, Some(&import)), ["Valid True Valid", "Ready True Exported", none]);
    import.conflicts.extend(["TypeConflict", "PortConflict"].map(|reason| conflict(own, reason)));
    assert_eq!(of(None, Some(&import))[2], "Conflict True PortConflict,TypeConflict");
}
