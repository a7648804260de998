//! Lists in pages: how many, from where.
use axle_core::model::{Key, Name, Scope, Uid};
use axle_proto::v1::ListRequest;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ipnet::IpNet;

use super::{Problem, Violation};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

/// Where a page begins: after this place in the order of its list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The cluster, where the list is by cluster.
    pub(super) scope: Option<Uid>,
    /// The namespace, or empty.
    pub(super) namespace: String,
    /// The name.
    pub(super) name: String,
}

impl Place {
    /// The place of an object.
    pub(super) fn of(key: &Key) -> Self {
        let scope = match key.scope {
            Scope::Fleet => None,
            Scope::Cluster(uid) => Some(uid),
        };
        Self { scope, namespace: key.namespace.clone(), name: key.name.as_str().to_owned() }
    }

    /// A place in a list by one name.
    pub(super) fn named(name: &str) -> Self {
        Self { scope: None, namespace: String::new(), name: name.to_owned() }
    }

    fn cursor(&self) -> String {
        let scope = self.scope.map(|uid| uid.to_string()).unwrap_or_default();
        BASE64_URL_SAFE_NO_PAD.encode(format!("{scope}\n{}\n{}", self.namespace, self.name))
    }

    fn parse(cursor: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let mut parts = text.split('\n');
        let (scope, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let scope = if scope.is_empty() { None } else { Some(scope.parse().ok()?) };
        Some(Self { scope, namespace: namespace.into(), name: name.into() })
    }
}

/// A checked request for a page.
pub(super) struct Page {
    limit: usize,
    after: Option<Place>,
    namespace: String,
    name: String,
}

impl Page {
    /// Checks limit, cursor and filters.
    pub(super) fn of(request: &ListRequest) -> Result<Self, Problem> {
        let mut violations = Vec::new();
        let limit = checked_limit(request.limit, &mut violations);
        let after = if request.cursor.is_empty() { None } else { Place::parse(&request.cursor) };
        if after.is_none() && !request.cursor.is_empty() {
            let want = "the nextCursor of the page before";
            violations.push(Violation::new(
                "bad_cursor",
                "cursor",
                &request.cursor,
                want,
                "start again without a cursor",
            ));
        }
        for (field, text) in [("namespace", &request.namespace), ("name", &request.name)] {
            if !text.is_empty() {
                name(field, text, &mut violations);
            }
        }
        if !violations.is_empty() {
            return Err(Problem::invalid(violations));
        }
        Ok(Self { limit, after, namespace: request.namespace.clone(), name: request.name.clone() })
    }

    /// Whether an item of this namespace and name is asked for.
    pub(super) fn wants(&self, namespace: &str, name: &str) -> bool {
        (self.namespace.is_empty() || self.namespace == namespace) && (self.name.is_empty() || self.name == name)
    }

    /// The page of `items`, which come in the order of their places, and the cursor to the next page (empty: the end).
    pub(super) fn take<T, V>(
        &self,
        items: impl Iterator<Item = (Place, T)>,
        mut view: impl FnMut(T) -> V,
    ) -> (Vec<V>, String) {
        let mut rest = items.filter(|(place, _)| self.after.as_ref().is_none_or(|after| place > after));
        let mut page = Vec::new();
        let mut last = None;
        for (place, item) in rest.by_ref().take(self.limit) {
            page.push(view(item));
            last = Some(place);
        }
        let more = rest.next().is_some();
        (page, last.filter(|_| more).map(|place| place.cursor()).unwrap_or_default())
    }
}

/// A limit within its bounds; 0 stands for the default.
pub(super) fn checked_limit(limit: u32, violations: &mut Vec<Violation>) -> usize {
    if limit > MAX_LIMIT {
        let want = format!("1 to {MAX_LIMIT}, or 0 for {DEFAULT_LIMIT}");
        violations.push(Violation::new("out_of_range", "limit", &limit.to_string(), &want, "ask for several pages"));
    }
    (if limit == 0 { DEFAULT_LIMIT } else { limit }) as usize
}

/// A text as a name, or a violation.
pub(super) fn name(field: &str, text: &str, violations: &mut Vec<Violation>) -> Option<Name> {
    match Name::new(text) {
        Ok(name) => Some(name),
        Err(invalid) => {
            let want = "an RFC 1123 name: lower-case letters, digits, '-' and '.', 1 to 253 characters";
            // The reason first: what is echoed is cut.
            let got = format!("{}: {:?}", invalid.why, invalid.got);
            violations.push(Violation::new("invalid_name", field, &got, want, "choose a name that fits"));
            None
        }
    }
}

/// A name that must be given.
pub(super) fn required(field: &str, text: &str) -> Result<Name, Problem> {
    let mut violations = Vec::new();
    name(field, text, &mut violations).ok_or_else(|| Problem::invalid(violations))
}

/// A text as an address range without host bits; the violation has no field yet.
pub(super) fn cidr(text: &str) -> Result<IpNet, Violation> {
    let want = "a CIDR such as 10.1.0.0/16 or fd00:1::/48";
    let fault = |got: String, fix: &str| Violation::new("invalid_cidr", "", &got, want, fix);
    let net: IpNet = text.parse().map_err(|_| fault(format!("{text:?}"), "write address/length"))?;
    if net.addr() != net.network() {
        return Err(fault(format!("{text:?}, which has host bits"), &format!("did you mean {}?", net.trunc())));
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(request: ListRequest, names: &[&str]) -> Vec<Vec<String>> {
        let mut request = request;
        let mut pages = Vec::new();
        loop {
            let page = Page::of(&request).unwrap();
            let items = names.iter().map(|name| (Place::named(name), (*name).to_owned()));
            let (items, next) = page.take(items, |name| name);
            pages.push(items);
            if next.is_empty() {
                return pages;
            }
            request.cursor = next;
        }
    }

    #[test]
    fn pages_join_to_the_list_without_a_gap() {
        let request = ListRequest { limit: 2, ..ListRequest::default() };
        assert_eq!(pages(request.clone(), &["a", "b", "c", "d", "e"]), [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
        assert_eq!(pages(request.clone(), &["a", "b"]), [vec!["a", "b"]]);
        assert_eq!(pages(request, &[]), [Vec::<String>::new()]);
    }

    #[test]
    fn a_cursor_outlives_the_item_that_it_names() {
        let first = Page::of(&ListRequest { limit: 2, ..ListRequest::default() }).unwrap();
        let (_, cursor) = first.take(["a", "b", "c"].iter().map(|name| (Place::named(name), *name)), |name| name);
        let next = Page::of(&ListRequest { cursor, ..ListRequest::default() }).unwrap();
        let (rest, _) = next.take(["a", "c"].iter().map(|name| (Place::named(name), *name)), |name| name);
        assert_eq!(rest, ["c"]);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_all_at_once() {
        let request = ListRequest {
            limit: 4_000_000_000,
            cursor: "%%%".into(),
            namespace: "Shop".into(),
            name: "..".into(),
            ..ListRequest::default()
        };
        let Err(problem) = Page::of(&request) else { panic!("it was taken") };
        let codes: Vec<_> = problem.violations.iter().map(|violation| violation.code.as_str()).collect();
        assert_eq!(codes, ["out_of_range", "bad_cursor", "invalid_name", "invalid_name"]);
    }
}
