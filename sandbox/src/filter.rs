//! The filter of system calls, from the table in `syscalls.rs`: one program for each way to fail, and one for numbers
//! that nobody knows. Another machine's system calls end the process.

use std::{collections::BTreeMap, io};

use libc::{
    BPF_ABS, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO,
    c_long,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};

use crate::{
    error::{Error, system},
    syscalls::{self, Conditional, Is, Refusal},
};

type Rules = BTreeMap<Refusal, BTreeMap<c_long, Vec<SeccompRule>>>;

/// Filters the system calls of this thread and of all that it will start.
pub(crate) fn apply() -> Result<(), Error> {
    let failed = || system("filter system calls");
    let programs = programs().map_err(io::Error::other).map_err(failed())?;
    for program in programs {
        apply_filter(&program)
            .map_err(io::Error::other)
            .map_err(failed())?;
    }
    Ok(())
}

fn programs() -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let machine = TargetArch::try_from(std::env::consts::ARCH)?;
    let mut programs = vec![unknown()];
    for (refusal, rules) in rules()? {
        let refused = SeccompAction::Errno(errno(refusal));
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, machine)?;
        programs.push(filter.try_into()?);
    }
    Ok(programs)
}

fn rules() -> Result<Rules, seccompiler::BackendError> {
    let mut rules = Rules::new();
    for (calls, refusal, _reason) in syscalls::REFUSED {
        let calls = calls.iter().map(|call| (*call, Vec::new()));
        rules.entry(*refusal).or_default().extend(calls);
    }
    for Conditional {
        call,
        refusal,
        arguments,
    } in syscalls::conditional()
    {
        let conditions: Result<Vec<_>, _> = arguments.iter().map(condition).collect();
        let calls = rules.entry(refusal).or_default();
        calls
            .entry(call)
            .or_default()
            .push(SeccompRule::new(conditions?)?);
    }
    Ok(rules)
}

fn condition((argument, is): &(u8, Is)) -> Result<SeccompCondition, seccompiler::BackendError> {
    let (operator, value) = match *is {
        Is::Equal(value) => (SeccompCmpOp::Eq, value),
        Is::Other(value) => (SeccompCmpOp::Ne, value),
        Is::Bits(mask, value) => (SeccompCmpOp::MaskedEq(mask.into()), value),
    };
    // SECURITY: the kernel ignores the upper half of these arguments, so comparing it would let everything pass.
    SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, operator, value.into())
}

/// Refuses every number above the newest known one, as a kernel would that does not have it.
fn unknown() -> BpfProgram {
    let statement = |code: u32, k: u32| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: 0,
        jf: 0,
        k,
    };
    let first_unknown = u32::try_from(syscalls::NEWEST.saturating_add(1)).unwrap_or_default();
    let jump = sock_filter {
        jf: 1,
        ..statement(BPF_JMP | BPF_JGE | BPF_K, first_unknown)
    };
    // The number of the call is what `seccomp_data` begins with.
    vec![
        statement(BPF_LD | BPF_W | BPF_ABS, 0),
        jump,
        statement(
            BPF_RET | BPF_K,
            SECCOMP_RET_ERRNO | errno(Refusal::NotThere),
        ),
        statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    ]
}

fn errno(refusal: Refusal) -> u32 {
    let errno = match refusal {
        Refusal::NotPermitted => libc::EPERM,
        Refusal::NotThere => libc::ENOSYS,
        Refusal::NoFamily => libc::EAFNOSUPPORT,
        Refusal::NoProtocol => libc::EPROTONOSUPPORT,
    };
    errno.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_becomes_programs_that_the_kernel_takes() {
        let programs = programs().unwrap();
        assert_eq!(programs.len(), 5);
        // The kernel takes no longer ones (BPF_MAXINSNS).
        assert!(
            programs
                .iter()
                .all(|program| (4..4096).contains(&program.len()))
        );
    }
}
