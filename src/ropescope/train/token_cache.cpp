#include "ropescope/train/token_cache.h"

#include <algorithm>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include <ATen/ops/empty.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/log.h"
#include "ropescope/core/sha256.h"
#include "ropescope/inputs/picture_reader.h"
#include "ropescope/train/taught_template.h"
#include "ropescope/weights/safetensors_writer.h"

namespace ropescope {

namespace {

namespace fs = std::filesystem;

// Of the file's form; part of its key.
constexpr int64_t kCacheVersion = 2;

template <typename T>
at::Tensor tensor_of(const std::vector<T>& values, at::ScalarType type) {
  const at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, type);
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<T>());
  return tensor;
}

/// Lists of lists as one list and the places where each begins.
class Packer {
 public:
  void add(const std::string& text) {
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    starts_.push_back(static_cast<int64_t>(bytes_.size()));
  }
  void add(const std::vector<int64_t>& values) {
    numbers_.insert(numbers_.end(), values.begin(), values.end());
    starts_.push_back(static_cast<int64_t>(numbers_.size()));
  }
  void put(const std::string& name, std::map<std::string, at::Tensor>& tensors) const {
    const bool text = numbers_.empty();
    tensors[name] = text ? tensor_of(bytes_, at::kByte) : tensor_of(numbers_, at::kLong);
    tensors[name + ".starts"] = tensor_of(starts_, at::kLong);
  }

 private:
  std::vector<uint8_t> bytes_;
  std::vector<int64_t> numbers_;
  std::vector<int64_t> starts_ = {0};
};

/// What a Packer wrote. Throws InputError for places that lie outside.
template <typename T>
class Unpacker {
 public:
  Unpacker(const Checkpoint& file, const std::string& name, at::ScalarType type)
      : values_(file.take(name, type).contiguous()),
        starts_(file.take(name + ".starts", at::kLong).contiguous()) {
    const auto* starts = starts_.template const_data_ptr<int64_t>();
    const int64_t count = starts_.numel();
    bool sound = count > 0 && starts[0] == 0 && starts[count - 1] == values_.numel();
    for (int64_t i = 1; sound && i < count; ++i) sound = starts[i - 1] <= starts[i];
    if (!sound) throw InputError("token cache: {} is damaged", name);
  }
  int64_t size() const { return starts_.numel() - 1; }
  template <typename List>
  List at(int64_t i) const {
    const auto* starts = starts_.template const_data_ptr<int64_t>();
    const auto* values = values_.template const_data_ptr<T>();
    return List(values + starts[i], values + starts[i + 1]);
  }

 private:
  at::Tensor values_, starts_;
};

std::string key_of(const fs::path& data, const fs::path& model, const ConversationRowOptions& options) {
  Sha256 sha;
  const auto add = [&](const std::string& text) {
    const uint64_t size = text.size();
    sha.add(&size, sizeof size);
    sha.add(text.data(), text.size());
  };
  add(fmt::format("{} {} {} {} {} {}", kCacheVersion, chat_template_name(options.conversation.chat),
                  static_cast<int>(options.conversation.rule), options.conversation.max_length,
                  options.move ? static_cast<int>(*options.move) : -1, options.images));
  if (options.conversation.own != nullptr) add(options.conversation.own->source());
  if (options.conversation.pictures != nullptr) add(options.conversation.pictures->image_mark());
  add(data.extension().string());
  add(sha256_of_file(data));
  std::error_code ignored;
  if (fs::is_regular_file(model, ignored)) add(sha256_of_file(model));
  for (const char* name : {"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json",
                           "merges.txt", "special_tokens_map.json", "added_tokens.json", "config.json",
                           "processor_config.json", "preprocessor_config.json"}) {
    add(fs::is_regular_file(model / name, ignored) ? sha256_of_file(model / name) : "");
  }
  return sha.finish();
}

void write_cache(const fs::path& cache, const std::string& key, const std::vector<ConversationRow>& rows,
                 const BadRows& bad) {
  Packer ids, labels, names, images, images_of, bad_names, reasons, keys;
  for (const ConversationRow& row : rows) {
    ids.add(row.text.ids);
    labels.add(row.text.labels);
    names.add(row.name);
    for (const std::string& image : row.images) images.add(image);
    images_of.add(std::vector<int64_t>{static_cast<int64_t>(row.images.size())});
  }
  for (const auto& [name, reason] : bad.reasons()) {
    bad_names.add(name);
    reasons.add(reason);
  }
  keys.add(key);
  std::map<std::string, at::Tensor> tensors;
  ids.put("ids", tensors);
  labels.put("labels", tensors);
  names.put("names", tensors);
  images.put("images", tensors);
  images_of.put("images_of", tensors);
  bad_names.put("bad_names", tensors);
  reasons.put("bad_reasons", tensors);
  keys.put("key", tensors);
  AtomicFile file(cache, /*force=*/true);
  write_safetensors_file(file.temporary_path(), tensors);
  file.commit();
}

/// None if it was made of something else. Throws InputError for a damaged file.
std::optional<std::vector<ConversationRow>> read_cache(const fs::path& cache, const std::string& key,
                                                       BadRows& bad) {
  const auto file = open_checkpoint(cache);
  const Unpacker<uint8_t> keys(*file, "key", at::kByte);
  if (keys.size() != 1 || keys.at<std::string>(0) != key) return std::nullopt;
  const Unpacker<uint8_t> names(*file, "names", at::kByte), images(*file, "images", at::kByte),
      bad_names(*file, "bad_names", at::kByte), reasons(*file, "bad_reasons", at::kByte);
  const Unpacker<int64_t> ids(*file, "ids", at::kLong), labels(*file, "labels", at::kLong),
      images_of(*file, "images_of", at::kLong);
  const int64_t count = names.size();
  if (ids.size() != count || labels.size() != count || images_of.size() != count ||
      reasons.size() != bad_names.size()) {
    throw InputError("token cache: its parts have different lengths");
  }
  std::vector<ConversationRow> rows(static_cast<size_t>(count));
  int64_t image = 0;
  for (int64_t i = 0; i < count; ++i) {
    ConversationRow& row = rows[static_cast<size_t>(i)];
    row.name = names.at<std::string>(i);
    row.text = {ids.at<std::vector<int64_t>>(i), labels.at<std::vector<int64_t>>(i)};
    const auto own = images_of.at<std::vector<int64_t>>(i);
    if (row.text.ids.size() != row.text.labels.size() || own.size() != 1 || own[0] < 0 ||
        own[0] > images.size() - image) {
      throw InputError("token cache: row {} is damaged", i);
    }
    for (int64_t j = 0; j < own[0]; ++j) row.images.push_back(images.at<std::string>(image++));
  }
  for (int64_t i = 0; i < bad_names.size(); ++i) {
    bad.add(bad_names.at<std::string>(i), reasons.at<std::string>(i));
  }
  return rows;
}

}  // namespace

std::vector<ConversationRow> read_cached_rows(const fs::path& cache, const fs::path& data,
                                              const fs::path& model, const Tokenizer& tokenizer,
                                              const ConversationRowOptions& options, BadRows& bad) {
  const std::string key = key_of(data, model, options);
  std::error_code ignored;
  if (fs::exists(cache, ignored)) {
    try {
      if (auto rows = read_cache(cache, key, bad)) return std::move(*rows);
      log_info("{}: made of other data or settings, it is made anew", cache.string());
    } catch (const TooManyBadRows&) {
      throw;
    } catch (const InputError& error) {
      log_warning("{}: damaged ({}), it is made anew", cache.string(), error.what());
    }
  }
  std::vector<ConversationRow> rows = read_conversation_rows(data, tokenizer, options, bad);
  write_cache(cache, key, rows, bad);
  return rows;
}

}  // namespace ropescope
