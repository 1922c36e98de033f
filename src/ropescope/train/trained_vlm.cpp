#include "ropescope/train/trained_vlm.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "ropescope/architectures/llava_names.h"
#include "ropescope/architectures/vision_names.h"
#include "ropescope/core/errors.h"
#include "ropescope/train/vlm_batch.h"
#include "ropescope/train/vlm_slots.h"

namespace ropescope {

namespace {

/// Rows as the loader gives them: pictures are normalised when the loss is taken, so that a step's pictures wait
/// as bytes.
std::vector<VlmRow> normalised(std::vector<VlmRow> rows, const PictureReader& reader) {
  for (VlmRow& row : rows) {
    for (MediaItem& item : row.items) item.pixel_values = reader.normalised(item.pixels_u8);
  }
  return rows;
}

/// Columns to rows of the pictures that are tried for the largest one.
constexpr int64_t kMostRatio = 12;
constexpr int64_t kLargeSide = 1024;

}  // namespace

TrainedVlm::TrainedVlm(Vlm& vlm, std::vector<ConversationRow> rows, const Tokenizer& tokenizer,
                       ImageLoader& loader, BadRows& bad, Settings settings)
    : vlm_(vlm),
      marks_(media_marks(vlm.config)),
      rows_(std::move(rows)),
      tokenizer_(tokenizer),
      loader_(loader),
      bad_(bad),
      settings_(std::move(settings)) {
  const MediaProcessor* processor = loader_.reader().processor();
  if (processor == nullptr) return;
  // Pictures are written into ids that are there already: that is only right where nothing melts with them.
  const MediaPlan plan = loader_.reader().plan_image(3 * kLargeSide, 2 * kLargeSide);
  const std::string& mark = loader_.reader().image_mark();
  const EncodeOptions plain = {/*add_special=*/false, false};
  const std::string before = "a\n", after = "\nb";
  std::vector<int64_t> parts = tokenizer.encode(before + mark + after, plain);
  const std::vector<int64_t> one = tokenizer.encode(mark, plain), all = written(plan);
  const auto place = std::search(parts.begin(), parts.end(), one.begin(), one.end());
  if (place != parts.end()) {
    const auto next = parts.erase(place, place + static_cast<std::ptrdiff_t>(one.size()));
    parts.insert(next, all.begin(), all.end());
  }
  if (one.size() != 1 ||
      parts != tokenizer.encode(before + processor->expand_text(mark, {plan}) + after, plain)) {
    throw UnsupportedModel(
        "{}: not trained here: under this tokenizer the text around a picture and what stands for the picture are no "
        "tokens of their own",
        vlm.config.family->name);
  }
}

std::vector<TensorSlot> TrainedVlm::slots() { return with_adapter_slots(vlm_slots(vlm_), settings_.loss); }

void TrainedVlm::after_load() {
  if (vlm_.decoder.config.tie_word_embeddings) {
    vlm_.decoder.weights.lm_head = vlm_.decoder.weights.embed_tokens;
  }
}

std::vector<int64_t> TrainedVlm::lengths() const {
  std::vector<int64_t> lengths;
  for (const ConversationRow& row : rows_) {
    const auto tokens = static_cast<int64_t>(row.text.ids.size());
    lengths.push_back(row.images.empty() ? -tokens : tokens);
  }
  return lengths;
}

std::vector<std::filesystem::path> TrainedVlm::files_of(const ConversationRow& row) const {
  std::vector<std::filesystem::path> files;
  for (const std::string& name : row.images) files.push_back(settings_.image_folder / name);
  return files;
}

void TrainedVlm::prefetch(const std::vector<int64_t>& rows) {
  for (const int64_t index : rows) {
    const ConversationRow& row = rows_.at(static_cast<size_t>(index));
    if (!row.images.empty()) loader_.prefetch(index, files_of(row));
  }
}

/// The ids of a picture: its placeholders and what its family writes between and around them.
std::vector<int64_t> TrainedVlm::written(const MediaPlan& plan) const {
  const PictureReader& reader = loader_.reader();
  if (reader.processor() == nullptr)
    return std::vector<int64_t>(static_cast<size_t>(plan.tokens()), marks_.image);
  return tokenizer_.encode(reader.processor()->expand_text(reader.image_mark(), {plan}),
                           {/*add_special=*/false, false});
}

void TrainedVlm::write_pictures(VlmRow& row) const {
  // (LLaVA-NeXT's one placeholder is all that stands there.)
  if (row.items.empty() || loader_.reader().processor() == nullptr) return;
  LabeledIds text;
  size_t next = 0;
  for (size_t i = 0; i < row.text.ids.size(); ++i) {
    if (row.text.ids[i] != kImageId) {
      text.ids.push_back(row.text.ids[i]);
      text.labels.push_back(row.text.labels[i]);
      continue;
    }
    const std::vector<int64_t> ids = written(row.items.at(next++).plan);
    text.ids.insert(text.ids.end(), ids.begin(), ids.end());
    text.labels.resize(text.ids.size(), row.text.labels[i]);  // no target
  }
  row.text = std::move(text);
}

MediaPlan TrainedVlm::largest_picture() const {
  const PictureReader& reader = loader_.reader();
  MediaPlan largest;
  const auto look_at = [&](int64_t width, int64_t height) {
    MediaPlan plan = reader.plan_image(width, height);
    if (plan.tokens() > largest.tokens()) largest = std::move(plan);
  };
  if (reader.processor() == nullptr) {
    for (const auto& [one, other] : reader.anyres_settings()->anyres->pinpoints) {
      look_at(one, other);
      look_at(other, one);
    }
    return largest;
  }
  for (int64_t columns = 1; columns <= kMostRatio; ++columns) {
    for (int64_t rows = 1; rows <= kMostRatio; ++rows) look_at(columns * kLargeSide, rows * kLargeSide);
  }
  return largest;
}

RowTotals TrainedVlm::totals() const {
  const MediaPlan picture = largest_picture();
  const auto around = static_cast<int64_t>(written(picture).size());
  const auto& grid = picture.grid_thw;
  const int64_t seen = vlm_.config.pictures == PictureTokens::kPatches ? grid[0] * grid[1] * grid[2]
                       : loader_.reader().processor() == nullptr
                           ? picture.tokens()
                           : picture.tiles * vlm_.config.vision.tokens();
  RowTotals totals;
  for (const ConversationRow& row : rows_) {
    const auto images = static_cast<int64_t>(row.images.size());
    const int64_t longest = static_cast<int64_t>(row.text.ids.size()) + images * (around - 1);
    totals.add(row.text.labels);
    totals.images += images;
    totals.image_tokens += picture.tokens() * images;
    totals.tower_tokens += seen * images;
    totals.tokens -= images;
    const bool is_cut = settings_.max_length > 0 && longest > settings_.max_length;
    totals.longest = std::max(totals.longest, is_cut ? settings_.max_length : longest);
  }
  return totals;
}

VlmRow TrainedVlm::with_items(int64_t index, std::vector<MediaItem> items) const {
  const ConversationRow& row = rows_.at(static_cast<size_t>(index));
  VlmRow ready{row.name, row.text, std::move(items)};
  write_pictures(ready);
  cut_row(ready, settings_.max_length, marks_);
  return ready;
}

VlmRow TrainedVlm::ready_row(int64_t index) {
  const ConversationRow& row = rows_.at(static_cast<size_t>(index));
  std::vector<MediaItem> items;
  if (!row.images.empty()) items = loader_.take(index, files_of(row));
  return normalised({with_items(index, std::move(items))}, loader_.reader()).front();
}

Trainer::Micro TrainedVlm::micro(const std::vector<int64_t>& rows) {
  const auto waiting = std::make_shared<std::vector<VlmRow>>();
  for (const int64_t index : rows) {
    const ConversationRow& row = rows_.at(static_cast<size_t>(index));
    std::vector<MediaItem> items;
    try {
      if (!row.images.empty()) items = loader_.take(index, files_of(row));
    } catch (const InputError& error) {
      bad_.add(row.name, fmt::format("row {}: {}", row.name, error.what()));
      continue;
    }
    waiting->push_back(with_items(index, std::move(items)));
  }
  Trainer::Micro micro = vlm_micro(vlm_, *waiting, settings_.loss);
  micro.loss = [this, waiting](double scale) {
    return vlm_loss(vlm_, normalised(*waiting, loader_.reader()), scale, settings_.loss);
  };
  return micro;
}

std::map<std::string, at::Tensor> unused_tower_weights(const Checkpoint& checkpoint, Vlm& vlm) {
  const std::string prefix = tower_prefix(*vlm.config.family);
  std::set<std::string> used;
  for (const TensorSlot& slot : vlm_slots(vlm)) {
    used.insert(slot.name);
    used.insert(slot.file_name());
  }
  std::map<std::string, at::Tensor> unused;
  const auto tower = llava_part(checkpoint, LlavaPart::kTower);
  // A file of another spelling (InternVL's own) has all of it under names that are not the checkpoint's.
  const std::string patch = vision_names(vlm.config.vision.kind).front().patch;
  if (tower->find(patch + ".weight") == nullptr) return unused;
  for (const TensorInfo& info : tower->tensors()) {
    // (Copied: a view would keep the whole file in memory.)
    if (used.count(prefix + info.name) > 0) continue;
    unused[prefix + info.name] = tower->take(info.name, at::kFloat).clone();
  }
  return unused;
}

}  // namespace ropescope
