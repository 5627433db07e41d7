//! `keymoat doctor`: what keymoat can and cannot see on this host.

use super::{DoctorArgs, Exit, complain};
use crate::doctor::{Report, text};

/// Exit 0 when the main job can be done here, 1 when it cannot, 2 when the report could not be made.
pub fn run(args: &DoctorArgs) -> Exit {
    // Only kernels before 5.11 need it; they say so when programs are loaded.
    let _ = crate::privileges::lift_memlock_limit();
    let report = Report::make();
    if args.json {
        match serde_json::to_string(&report) {
            Ok(json) => println!("{json}"),
            Err(error) => {
                complain(&error.to_string());
                return Exit::Error;
            }
        }
    } else {
        print!("{}", text::render(&report));
    }
    if report.is_able() { Exit::Clean } else { Exit::Findings }
}
