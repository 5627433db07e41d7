//! Between the contract and what is kept: [`check`] on the way in, [`say`] on the way out.

pub mod check;
pub mod say;

use crate::model::{Action, ChannelKind, Confidence, Severity};
use keymoat_proto::v1;

/// Pairs of names for the same thing, read in both directions.
macro_rules! same {
    ($into:ident, $from:ident: $wire:ident <=> $model:ident { $($variant:ident),* }) => {
        pub(crate) fn $into(number: i32) -> Option<$model> {
            match v1::$wire::try_from(number).ok()? {
                v1::$wire::Unspecified => None,
                $(v1::$wire::$variant => Some($model::$variant),)*
            }
        }

        pub(crate) fn $from(value: $model) -> i32 {
            match value { $($model::$variant => v1::$wire::$variant.into(),)* }
        }
    };
}

same!(severity, severity_number: Severity <=> Severity { Info, Low, Medium, High, Critical });
same!(confidence, confidence_number: Confidence <=> Confidence { Low, Medium, High });
same!(action, action_number: Action <=> Action { Observed, Allowed, Blocked, Late });
same!(channel_kind, channel_kind_number: ChannelKind <=> ChannelKind { Tls, Tcp, Udp });
