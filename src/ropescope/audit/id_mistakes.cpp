#include "ropescope/audit/id_mistakes.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/audit/clip_times.h"
#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

bool has_axes(const AuditCase& of) { return of.prompt.axes == 3; }
bool has_blocks(const AuditCase& of) { return has_axes(of) && of.prompt.has_media(); }
bool decodes(const AuditCase& of) { return of.window.end() > of.prompt.tokens; }

Guesses one_row(const AuditCase& of) {
  if (!has_blocks(of)) return {};
  return {{[](IdRule& rule) { rule.one_row = true; }, ""}};
}

Guesses padding_counted(const AuditCase& of) {
  if (!of.prompt.padded()) return {};
  return {{[](IdRule& rule) { rule.counting.hidden_too = true; }, ""}};
}

Guesses packed_joined(const AuditCase& of) {
  if (!of.prompt.packed()) return {};
  return {{[](IdRule& rule) { rule.counting.joined = true; }, ""}};
}

Guesses later_parts_empty(const AuditCase& of) {
  if (!of.prompt.packed()) return {};
  return {{[](IdRule& rule) { rule.later_parts = 1; }, "all are 1"},
          {[](IdRule& rule) { rule.later_parts = 0; }, "all are 0"}};
}

/// A row that begins anew although nothing said that it is packed.
Guesses packed_unsaid(const AuditCase& of) {
  if (of.prompt.packed()) return {};
  std::vector<int64_t> restarts;
  const auto ids = of.recorded.accessor<double, 3>();
  const int64_t columns = std::min(of.window.count, of.prompt.tokens - of.window.first);
  for (int64_t k = 1; k < columns; ++k) {
    bool zero = !of.prompt.hidden(of.first_row, of.window.first + k);
    for (int64_t axis = 0; axis < of.prompt.axes; ++axis) zero = zero && ids[axis][of.first_row][k] == 0;
    if (zero) restarts.push_back(of.window.first + k);
  }
  if (restarts.empty() || restarts.size() > 1000) return {};
  const size_t shown = std::min<size_t>(restarts.size(), 8);
  return {{[restarts](IdRule& rule) { rule.counting.restarts = restarts; },
           fmt::format("at token {}{}",
                       fmt::join(restarts.begin(), restarts.begin() + static_cast<long>(shown), ", "),
                       shown < restarts.size() ? ", ..." : "")}};
}

Guesses after_extent(const AuditCase& of) {
  if (!has_axes(of) || !of.prompt.has_clip()) return {};
  Guesses guesses = {{[](IdRule& rule) { rule.after = IdRule::After::kExtent; }, ""}};
  if (decodes(of)) {
    guesses.front().detail =
        "generated tokens go on from the last token's id, as generate() of transformers 5 does";
    guesses.push_back({[](IdRule& rule) {
                         rule.after = IdRule::After::kExtent;
                         rule.decode = IdRule::Decode::kLargest;
                       },
                       "generated tokens go on from the largest id, as rope_deltas say"});
  }
  return guesses;
}

Guesses after_tokens(const AuditCase& of) {
  if (!has_blocks(of)) return {};
  return {{[](IdRule& rule) { rule.after = IdRule::After::kTokens; }, ""}};
}

Guesses from_zero(const AuditCase& of) {
  if (!has_blocks(of)) return {};
  return {{[](IdRule& rule) { rule.origin = IdRule::Origin::kSpatialZero; }, "rows and columns"},
          {[](IdRule& rule) { rule.origin = IdRule::Origin::kAllZero; }, "frames, rows and columns"}};
}

Guesses time_scales_origin(const AuditCase& of) {
  if (!has_blocks(of) || of.prompt.ids_per_second <= 0) return {};
  return {{[](IdRule& rule) {
             rule.time_scales_origin = true;
             rule.after = IdRule::After::kExtent;
           },
           ""}};
}

Guesses axes_exchanged(const AuditCase& of) {
  if (!has_blocks(of)) return {};
  Guesses guesses;
  constexpr std::array<std::array<int64_t, 3>, 5> kOrders = {
      {{0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}};
  for (const auto& order : kOrders) {
    constexpr const char* kNames = "thw";
    guesses.push_back(
        {[order](IdRule& rule) { rule.order = order; },
         fmt::format("the rows are {}, {}, {}", kNames[order[0]], kNames[order[1]], kNames[order[2]])});
  }
  return guesses;
}

Guesses delta_missing(const AuditCase& of) {
  if (!decodes(of)) return {};
  Guesses guesses = {{[](IdRule& rule) { rule.decode = IdRule::Decode::kSeenTokens; }, ""}};
  if (of.prompt.padded()) {
    guesses.push_back(
        {[](IdRule& rule) { rule.decode = IdRule::Decode::kAllTokens; }, "padding is counted too"});
  }
  return guesses;
}

Guesses decode_from_zero(const AuditCase& of) {
  if (!decodes(of)) return {};
  return {{[](IdRule& rule) { rule.decode = IdRule::Decode::kZero; }, ""}};
}

/// Generated tokens that go on from somewhere else: the first of each row says where.
Guesses delta_stale(const AuditCase& of) {
  if (!decodes(of)) return {};
  const auto ids = of.recorded.accessor<double, 3>();
  const int64_t begin = std::max(of.prompt.tokens, of.window.first);
  std::vector<double> from, deltas;
  for (int64_t row = 0; row < of.prompt.batch; ++row) {
    from.push_back(ids[0][row][begin - of.window.first] - static_cast<double>(begin - of.prompt.tokens));
    deltas.push_back(from.back() - static_cast<double>(of.prompt.tokens));
  }
  return {{[from](IdRule& rule) {
             rule.decode = IdRule::Decode::kGiven;
             rule.decode_from = from;
           },
           fmt::format("a delta of {:g}", fmt::join(deltas, ", "))}};
}

Guesses chunk_restarted(const AuditCase& of) {
  const int64_t chunk = of.first_token;
  if (of.prompt.padded() || of.prompt.packed() || of.window.first != 0 || chunk < 2 ||
      chunk >= of.prompt.tokens) {
    return {};
  }
  return {{[chunk](IdRule& rule) { rule.chunk = chunk; }, fmt::format("{} tokens a chunk", chunk)}};
}

/// The same number too much or too little in all ids of a row.
Guesses shifted(const AuditCase& of) {
  std::vector<double> shift;
  const auto found = of.recorded.accessor<double, 3>();
  const auto wanted = of.expected.accessor<double, 3>();
  for (int64_t row = 0; row < of.prompt.batch; ++row) {
    int64_t k = 0;
    while (k + 1 < of.window.count && of.window.first + k < of.prompt.tokens &&
           of.prompt.hidden(row, of.window.first + k)) {
      ++k;
    }
    shift.push_back(found[0][row][k] - wanted[0][row][k]);
  }
  if (std::all_of(shift.begin(), shift.end(), [](double by) { return by == 0; })) return {};
  return {{[shift](IdRule& rule) { rule.shift = shift; }, fmt::format("by {:g}", fmt::join(shift, ", "))}};
}

}  // namespace

const std::vector<IdMistake>& known_mistakes() {
  static const std::vector<IdMistake> all = {
      {"1-d-fallback",
       "pictures were counted token by token, as a language model counts text, on every axis",
       "nothing fails; boxes and places in pictures are off",
       {"NVIDIA-NeMo/Automodel#2172", "NVIDIA-NeMo/Automodel#3113", "linkedin/Liger-Kernel#276",
        "QwenLM/Qwen3-VL#488", "huggingface/trl#5785", "zhangfaen/finetune-Qwen2-VL#28",
        "ml-explore/mlx-lm#1768", "alibaba/MNN#3345", "axolotl-ai-cloud/axolotl#3817"},
       "blocks",
       one_row},
      {"missing-rope-delta",
       "generated tokens were counted on from the number of tokens of the prompt, without the rope delta that its pictures make",
       "the answer falls into repetition right after a prompt with pictures",
       {"Blaizzy/mlx-vlm#1619", "Blaizzy/mlx-vlm#1527", "huggingface/transformers#41176",
        "huggingface/transformers#40490", "vllm-project/vllm#10403"},
       "decode",
       delta_missing},
      {"decode-from-zero",
       "generated tokens were counted from 0",
       "the answer falls into repetition from its first token",
       {"Blaizzy/mlx-vlm#1619"},
       "decode",
       decode_from_zero},
      {"stale-rope-delta",
       "generated tokens were counted on with a rope delta that is not this prompt's",
       "right alone, wrong beside other requests or in a second call",
       {"Blaizzy/mlx-vlm#1143", "Blaizzy/mlx-vlm#1415", "huggingface/transformers#43952"},
       "decode",
       delta_stale},
      {"padding-counted",
       "padding in front of a row took ids as if it were text",
       "a prompt answers otherwise in a batch than alone",
       {"unslothai/unsloth#3699", "ndif-team/nnsight#673", "TransformerLensOrg/TransformerLens#1610",
        "alibaba/Pai-Megatron-Patch#448"},
       "padding",
       padding_counted},
      {"packed-not-restarted",
       "the ids of a packed row ran on from one text into the next",
       "nothing fails; later texts of a row train at positions that they never have alone",
       {"huggingface/nanoVLM#201", "huggingface/transformers#38007"},
       "packing",
       packed_joined},
      {"packed-parts-masked",
       "only the first text of a packed row got ids, since its mask numbers the texts and 1 alone was taken for a real token",
       "nothing fails; the loss of packed rows is high",
       {"hiyouga/LlamaFactory#7754"},
       "packing",
       later_parts_empty},
      {"packed-row-unsaid",
       "the ids begin anew inside the row, as those of a packed row do; if it is one, --segments says so",
       "",
       {"huggingface/transformers#39447"},
       "packing",
       packed_unsaid},
      {"chunk-restarted",
       "each chunk of the prompt got the ids of the first one",
       "short prompts are right, long ones are not",
       {"Blaizzy/mlx-vlm#1621", "vllm-project/vllm#10388", "ikawrakow/ik_llama.cpp#1907"},
       "chunks",
       chunk_restarted},
      {"transformers-5-after-video",
       "text behind a clip went on at the clip's height or width, as in transformers 5, and not behind its last time id, as in transformers 4 and the model's training",
       "only clips whose time ids run past their height and width",
       {"huggingface/transformers#45381"},
       "after",
       after_extent},
      {"token-count-after-picture",
       "text behind a picture went on at its number of tokens, not behind its largest id",
       "fluent answers about another picture",
       {"kekzl/imp#1173"},
       "after",
       after_tokens},
      {"spatial-reset",
       "the ids of a picture began at 0, as the spatial reset of arXiv 2510.23095 has it, which this model was not trained with",
       "",
       {"JJJYmmm/Multimodal-RoPEs#2"},
       "blocks",
       from_zero},
      {"axes-exchanged",
       "the three rows of ids stand in another order than frames, rows, columns",
       "boxes are turned over the diagonal",
       {"osaurus-ai/vmlx-swift#225"},
       "axes",
       axes_exchanged},
      {"fps-exchanged",
       "the clip's source rate was taken for the rate at which its frames were sampled",
       "events of a clip are placed at wrong times",
       {"ByteDance-Seed/VeOmni#1221", "EvolvingLMMs-Lab/lmms-eval#1260", "EvolvingLMMs-Lab/lmms-eval#1491"},
       "time",
       source_fps_taken},
      {"second-per-grid-missing",
       "second_per_grid_ts did not arrive, and one second was taken for each group of frames",
       "events of a clip are placed at wrong times",
       {"huggingface/transformers#41152", "sgl-project/sglang#3682", "vllm-project/vllm#23056"},
       "time",
       seconds_missing},
      {"seconds-cut",
       "the seconds between groups of frames were cut to a whole number before they were multiplied",
       "above two frames a second all frames share one time id",
       {"huggingface/transformers#48669", "EvolvingLMMs-Lab/lmms-eval#1393"},
       "time",
       seconds_cut},
      {"frames-counted",
       "groups of frames were counted one by one (Qwen2-VL's rule), where this model counts seconds",
       "events of a clip are placed at wrong times",
       {},
       "time",
       frames_counted},
      {"time-ids-collide",
       "groups of frames share time ids: the rate that the ids were made for is above the ids a second that the model has",
       "the model cannot tell the order of neighbouring frames",
       {"QwenLM/Qwen3-VL#1031", "huggingface/transformers#48669"},
       "time",
       time_collides},
      {"time-step",
       "time ids advance by another step than the clip's seconds give",
       "events of a clip are placed at wrong times",
       {"modelscope/ms-swift#9955", "vllm-project/vllm-omni#5355"},
       "time",
       time_step},
      {"time-scales-origin",
       "where a picture or clip begins was multiplied by its ids a second, and its frames were not told apart, as in transformers 5.3",
       "answers about pictures get worse with an update of transformers",
       {"huggingface/transformers#45325", "huggingface/transformers#45381", "huggingface/lerobot#3648"},
       "after",
       time_scales_origin},
      {"shifted",
       "every id of a row is moved by the same number: what is rotated goes by differences of ids, so attention inside the row stays what it was",
       "",
       {"turboderp-org/exllamav2#606"},
       "shift",
       shifted},
  };
  return all;
}

const IdMistake& known_mistake(const std::string& name) {
  for (const IdMistake& mistake : known_mistakes()) {
    if (mistake.name == name) return mistake;
  }
  throw InternalError("known_mistake: there is no \"{}\"", name);
}

}  // namespace ropescope
