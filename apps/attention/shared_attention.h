// A study of attention whose inputs and schemes are dealt to several processes.
#pragma once

#include <cstdint>
#include <functional>

#include "ropescope/analysis/attention_study.h"
#include "ropescope/train/work_deal.h"

#include "command.h"
#include "inputs/work_parts.h"

namespace ropescope::app::attention {

/// What makes two runs of the command the same: flags, files, version.
Json study_subject(const Invocation& invocation, const Provenance& provenance);

/// An item is an input under a scheme, with all lengths of text; what it gives is a part, which the process that leads puts
/// into `writer` in the order of the items. Only that process has a writer and gets a result: the datasets of one process,
/// bit for bit. `dealt` hears how many items are measured now, by all processes. Throws UsageError where there is nothing to
/// share.
AttentionResult study_in_parts(const Decoder& decoder, const AttentionInputs& inputs,
                               const AttentionStudyOptions& options, DealtWork& work, const WorkParts& parts,
                               const Json& subject, bool resume, const Provenance& provenance,
                               ResultWriter* writer, const std::function<void(int64_t items)>& dealt);

}  // namespace ropescope::app::attention
