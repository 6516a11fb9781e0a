//! exeat run: namespaces, DNS, environment.
