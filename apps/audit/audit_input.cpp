#include "audit/audit_input.h"

#include <algorithm>
#include <array>
#include <iterator>

#include <fmt/ranges.h>

#include <ATen/ops/where.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/core/numbers.h"
#include "ropescope/inputs/processor_plans.h"
#include "ropescope/models/vlm.h"
#include "ropescope/vision/media_processor.h"

#include "audit/record_file.h"
#include "inputs/loaded_model.h"
#include "inputs/model_folder.h"

namespace ropescope::app::audit {

namespace {

using GridThw = std::array<int64_t, 3>;

struct Grids {
  std::vector<GridThw> images, videos;
  bool empty() const { return images.empty() && videos.empty(); }
};

GridThw parse_grid(const std::string& text, const std::string& whole) {
  GridThw grid{};
  size_t at = 0;
  bool sound = true;
  for (size_t i = 0; i < 3 && sound; ++i) {
    const size_t end = i < 2 ? text.find('x', at) : text.size();
    const auto size = end == std::string::npos
                          ? std::nullopt
                          : parse_whole_number(std::string_view(text).substr(at, end - at));
    sound = size.has_value() && *size > 0;
    if (sound) grid[i] = *size;
    at = end + 1;
  }
  if (!sound) {
    throw UsageError(
        "--grid: expected frame groups x rows x columns of patches like 1x24x36, image:1x24x36 or video:4x12x16, found "
        "\"{}\"",
        whole);
  }
  return grid;
}

/// "1,24,36" and "[[1,24,36],[4,12,16]]", as tensors print, in the other form; what is no such list stays as it is.
std::string triples_with_x(const std::string& given) {
  std::string list;
  std::copy_if(given.begin(), given.end(), std::back_inserter(list),
               [](char c) { return c != '[' && c != ']' && c != ' '; });
  const auto commas = std::count(list.begin(), list.end(), ',');
  if (commas % 3 != 2) return given;
  int64_t comma = 0;
  for (char& c : list) {
    if (c == ',' && ++comma % 3 != 0) c = 'x';
  }
  return list;
}

/// "1x24x36,video:4x12x16": what has several groups of frames is a clip, whatever stands before it.
Grids parse_grids(const std::vector<std::string>& given) {
  Grids grids;
  for (std::string list : given) {
    if (list.find('x') == std::string::npos) list = triples_with_x(list);
    for (size_t at = 0; at <= list.size();) {
      const size_t end = std::min(list.find(',', at), list.size());
      const std::string item = list.substr(at, end - at);
      at = end + 1;
      const bool video = item.starts_with("video:"), image = item.starts_with("image:");
      const GridThw grid = parse_grid(video || image ? item.substr(6) : item, item);
      (video || (!image && grid[0] > 1) ? grids.videos : grids.images).push_back(grid);
    }
  }
  return grids;
}

/// The files that may hold what belongs to the prompt, the nearest first.
class RecordFiles {
 public:
  RecordFiles(const AuditFlags& flags) : ids_(flags.ids) {
    if (flags.input_ids) prompt_.emplace(*flags.input_ids);
  }

  const RecordFile& ids() const { return ids_; }
  at::Tensor input_ids() const {
    if (prompt_) return prompt_->take_whole("input_ids");
    return ids_.find_whole("input_ids");
  }
  at::Tensor find(const std::string& name) const {
    const at::Tensor found = prompt_ ? prompt_->find(name) : at::Tensor();
    return found.defined() ? found : ids_.find(name);
  }
  at::Tensor find_whole(const std::string& name) const {
    const at::Tensor found = prompt_ ? prompt_->find_whole(name) : at::Tensor();
    return found.defined() ? found : ids_.find_whole(name);
  }

 private:
  RecordFile ids_;
  std::optional<RecordFile> prompt_;
};

std::vector<GridThw> grids_in(const RecordFiles& files, const std::string& name) {
  const at::Tensor found = files.find_whole(name);
  if (!found.defined()) return {};
  if (found.dim() != 2 || found.size(1) != 3) {
    throw InputError("{}: expected [n, 3], found [{}]", name, fmt::join(found.sizes(), ", "));
  }
  std::vector<GridThw> grids;
  const auto rows = found.accessor<int64_t, 2>();
  for (int64_t i = 0; i < found.size(0); ++i) grids.push_back({rows[i][0], rows[i][1], rows[i][2]});
  return grids;
}

at::Tensor in_rows(at::Tensor tensor, const std::string& name) {
  if (tensor.dim() == 1) tensor = tensor.unsqueeze(0);
  if (tensor.dim() != 2 || tensor.numel() == 0) {
    throw InputError("{}: expected [tokens] or [rows, tokens], found [{}]", name,
                     fmt::join(tensor.sizes(), ", "));
  }
  return tensor.contiguous();
}

std::vector<double> seconds_of_clips(const AuditFlags& flags, const RecordFiles& files, size_t clips) {
  std::vector<double> seconds = flags.second_per_grid;
  if (seconds.empty()) {
    at::Tensor found = files.find("second_per_grid_ts");
    if (!found.defined()) return {};
    found = found.reshape({-1}).contiguous();
    seconds.assign(found.const_data_ptr<double>(), found.const_data_ptr<double>() + found.numel());
  }
  if (seconds.size() == 1) seconds.resize(clips, seconds.front());
  if (seconds.size() != clips) {
    throw InputError(
        "--second-per-grid (second_per_grid_ts): expected a number for each of {} clips, found {}", clips,
        seconds.size());
  }
  check_seconds(seconds, "--second-per-grid (second_per_grid_ts)");
  return seconds;
}

std::vector<MediaPlan> read_plans(const AuditFlags& flags, const RecordFiles& files, const VlmConfig& vlm,
                                  const at::Tensor& input_ids) {
  Grids grids = parse_grids(flags.grid);
  if (grids.empty()) grids = {grids_in(files, "image_grid_thw"), grids_in(files, "video_grid_thw")};
  const MediaMarks marks = media_marks(vlm);
  if (grids.empty()) {
    if (has_placeholders(input_ids, marks)) {
      throw UsageError(
          "--grid: expected the grids of the pictures and clips that input_ids have tokens of, found none. Try: --grid "
          "1x24x36 (image_grid_thw), or a file that holds image_grid_thw beside input_ids");
    }
    return {};
  }
  const MediaProcessor processor = read_media_processor(flags.model);
  const std::vector<double> seconds = seconds_of_clips(flags, files, grids.videos.size());
  if (seconds.empty() && !grids.videos.empty() && marks.ids_per_second > 0) {
    log_warning(
        "--second-per-grid: not given, and no second_per_grid_ts in the files: one second is taken from each group of frames to the next");
  }
  std::vector<MediaPlan> plans;
  for (const GridThw& grid : grids.images) {
    plans.push_back(plan_of_grid(processor, MediaKind::kImage, grid, 0.0));
  }
  for (size_t i = 0; i < grids.videos.size(); ++i) {
    plans.push_back(
        plan_of_grid(processor, MediaKind::kVideo, grids.videos[i], seconds.empty() ? 1.0 : seconds[i]));
  }
  return plans;
}

std::vector<int64_t> read_parts(const AuditFlags& flags, const RecordFiles& files) {
  if (!flags.segments.empty()) return flags.segments;
  at::Tensor ends = files.find_whole("cu_seqlens");
  if (!ends.defined()) return {};
  ends = ends.reshape({-1}).contiguous();
  const auto* end = ends.const_data_ptr<int64_t>();
  std::vector<int64_t> parts;
  for (int64_t i = 1; i < ends.numel(); ++i) parts.push_back(end[i] - end[i - 1]);
  const bool sound = !parts.empty() && end[0] == 0 &&
                     std::all_of(parts.begin(), parts.end(), [](int64_t length) { return length > 0; });
  if (!sound) throw InputError("cu_seqlens: expected 0 and then larger and larger ends of texts");
  return parts;
}

/// [rows of ids, B, columns] of what was recorded; `batch`: of the prompt, where it is known.
at::Tensor shaped_ids(const at::Tensor& raw, int64_t axes, std::optional<int64_t> batch,
                      const std::string& path) {
  at::Tensor ids = raw;
  if (ids.dim() == 1) ids = ids.view({1, 1, -1});
  if (ids.dim() == 2) {
    const int64_t rows = ids.size(0);
    const bool of_axes = axes == 3 && (rows == 3 || rows == 4) && batch.value_or(1) == 1;
    ids = of_axes ? ids.unsqueeze(1) : ids.unsqueeze(0);
  }
  const bool fits = ids.dim() == 3 && ids.numel() > 0 && (!batch || ids.size(1) == *batch) &&
                    (ids.size(0) == 1 || ids.size(0) == 3 || ids.size(0) == 4);
  if (!fits) {
    throw InputError(
        "{0}: position ids: expected [tokens], [{1}, tokens] or [1, 3 or 4, {1}, tokens], found [{2}]", path,
        batch ? std::to_string(*batch) : "rows", fmt::join(raw.sizes(), ", "));
  }
  return ids.contiguous();
}

/// Divides rows of ids into those of the rule and the row of text positions that may stand before them.
void take_rows(const at::Tensor& ids, const DecoderConfig& config, const std::string& path,
               IdRecord& record) {
  const int64_t axes = config.rope_axes ? 3 : 1;
  const int64_t rows = ids.size(0);
  if (axes == 1 && rows > 1 && !ids.eq(ids.narrow(0, 0, 1)).all().item<bool>()) {
    throw InputError("{}: position ids: expected one row of a {} model, found {} rows that differ", path,
                     config.model_type, rows);
  }
  if (rows == 4 && axes == 3) record.text = ids.narrow(0, 0, 1).contiguous();
  record.ids = axes == 1   ? ids.narrow(0, 0, 1).contiguous()
               : rows == 1 ? ids.expand({3, ids.size(1), ids.size(2)}).contiguous()
                           : ids.narrow(0, rows - 3, 3).contiguous();
}

void refuse_trained_scheme(const std::string& model, const DecoderConfig& config) {
  const auto trained = tagged_scheme(model);
  if (!trained || *trained == config.native_scheme()) return;
  throw UsageError(
      "--model: {} was trained under {}; expected a checkpoint with its family's own rule ({}). Try: ropescope positions "
      "--scheme {}, which prints the ids of a layout",
      model, *trained, config.native_scheme(), *trained);
}

}  // namespace

void AuditFlags::bind(Flags& flags) {
  flags.group("Known mistakes");
  flags.add("list", list, "list the mistakes that are looked for, with symptom and source, and stop")
      .suffices();
  flags.group("Record (.npy, .safetensors, JSON, or a file of ropescope trace)");
  flags.add("model", model, "checkpoint: a folder with config.json (weights are not read), or a .gguf file")
      .required()
      .stands_for(opened_model);
  flags
      .add(
          "ids", ids,
          "recorded position ids (position_ids): [tokens], [rows, tokens] or [axes, rows, tokens]; with four rows the first are transformers' text positions. What lies beyond input_ids was generated")
      .required();
  flags.add(
      "input-ids", input_ids,
      "the prompt's token ids (input_ids), placeholders of pictures expanded; the file may also hold attention_mask, image_grid_thw, video_grid_thw, second_per_grid_ts and cu_seqlens, as may that of --ids");
  flags.add("tables", tables, "safetensors file with the cos and sin that were made of these ids");
  flags.group("Prompt, where the files do not say it");
  flags.add(
      "grid", grid,
      "grids of pictures and clips in patches, before merging, as image_grid_thw: 1x24x36,video:4x12x16");
  flags.add("second-per-grid", second_per_grid,
            "seconds from one group of frames to the next, of each clip or of all (second_per_grid_ts)");
  flags
      .add("source-fps", source_fps, "frames a second of the clips' files: tried in place of the usual rates")
      .between(0.01, 10000);
  flags.add("segments", segments, "lengths of the texts that a row packs, for example 120,80");
  flags.add("first", first, "which token the record begins with: of a decoding step, of a chunk; 0")
      .at_least(0);
}

AuditInput read_audit_input(const AuditFlags& flags) {
  AuditInput input;
  input.config = read_decoder_config(flags.model);
  refuse_trained_scheme(flags.model, input.config);
  std::optional<VlmConfig> vlm;
  if (model_kind(flags.model) == ModelKind::kVlm) vlm = read_vlm_config(flags.model);
  const RecordFiles files(flags);
  input.files.add_input(flags.ids);
  if (flags.input_ids) input.files.add_input(*flags.input_ids);

  PromptInputs prompt;
  prompt.input_ids = files.input_ids();
  const bool known = prompt.input_ids.defined();
  if (known) prompt.input_ids = in_rows(prompt.input_ids, "input_ids");
  if (!known && vlm && input.config.rope_axes) {
    throw UsageError(
        "--input-ids: expected the prompt's token ids, which say where the pictures of a {} model stand, found none",
        vlm->family->name);
  }
  const std::optional<int64_t> batch = known ? std::optional(prompt.input_ids.size(0)) : std::nullopt;
  const at::Tensor ids =
      shaped_ids(files.ids().take("position_ids"), input.config.rope_axes ? 3 : 1, batch, flags.ids);
  take_rows(ids, input.config, flags.ids, input.record);
  input.record.window = {flags.first.value_or(0), ids.size(2)};
  input.record.source_fps = flags.source_fps;
  prompt.batch = ids.size(1);
  prompt.tokens = input.record.window.end();
  if (known && vlm && input.config.rope_axes) prompt.plans = read_plans(flags, files, *vlm, prompt.input_ids);
  if (prompt.plans.empty() && !flags.grid.empty()) {
    throw UsageError("--grid: expected a model whose ids have rows of frames, rows and columns, found {}",
                     input.config.model_type);
  }
  at::Tensor mask = files.find_whole("attention_mask");
  if (mask.defined()) {
    mask = in_rows(mask, "attention_mask");
    // That of a generation goes on over the generated tokens.
    if (known && mask.size(1) > prompt.input_ids.size(1)) mask = mask.narrow(1, 0, prompt.input_ids.size(1));
    prompt.attention_mask = mask.contiguous();
  }
  prompt.parts = read_parts(flags, files);
  input.prompt = audited_prompt(input.config, vlm ? &*vlm : nullptr, prompt);
  if (!flags.first && input.record.window.count < input.prompt.tokens) {
    throw InputError(
        "{}: position ids: expected those of at least the {} tokens of input_ids, found {}. Try: --first 0 for a record of the "
        "first ones alone",
        flags.ids, input.prompt.tokens, input.record.window.count);
  }
  if (flags.tables) {
    const RecordFile tables(*flags.tables);
    input.files.add_input(*flags.tables);
    input.tables = RecordedTables{tables.take("cos"), tables.find("sin"), tables.half_type("cos")};
    if (!input.tables->sin.defined()) throw InputError("{}: expected \"cos\" and \"sin\"", *flags.tables);
  }
  return input;
}

}  // namespace ropescope::app::audit
