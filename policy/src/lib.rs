//! Which tool is this, are its arguments valid, is it allowed, under which obligations.
