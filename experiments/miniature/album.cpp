#include "album.h"

#include <algorithm>
#include <map>
#include <system_error>

#include <fmt/format.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/durable_file.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/models/vision_tower.h"
#include "ropescope/vision/image.h"
#include "ropescope/weights/safetensors_writer.h"

namespace ropescope::miniature {

namespace fs = std::filesystem;

namespace {

constexpr const char* kLabels = "pictures.json";
constexpr int64_t kTilesThroughTower = 256, kPicturesThroughTower = 64;

uint64_t key_of(const std::string& name) {
  uint64_t key = 0;
  for (const char c : name) key = key * 131 + static_cast<unsigned char>(c);
  return key;
}

std::vector<int64_t> read_labels(const Json& picture, const char* key, int64_t values, int64_t cells,
                                 const std::string& what) {
  const auto found = picture.find(key);
  if (found == picture.end() || !found->is_array() || static_cast<int64_t>(found->size()) != cells) {
    throw InputError("{}: \"{}\": expected a list of {} numbers", what, key, cells);
  }
  std::vector<int64_t> labels;
  for (const Json& label : *found) {
    if (!label.is_number_unsigned() || label.get<uint64_t>() >= static_cast<uint64_t>(values)) {
      throw InputError("{}: \"{}\": expected numbers below {}, found {}", what, key, values, label.dump());
    }
    labels.push_back(label.get<int64_t>());
  }
  return labels;
}

/// All of one size: the thumbnails of several pictures and the pictures themselves.
at::Tensor see_patches(const Llava& llava, const Shape& shape, const at::Tensor& patches_NPD) {
  std::vector<PatchGrid> grids;
  for (int64_t i = 0; i < patches_NPD.size(0); ++i) {
    grids.push_back({1, shape.thumbnail_side(), shape.thumbnail_side()});
    grids.push_back({1, shape.rows, shape.columns});
  }
  return patch_features(llava.tower, patches_NPD.flatten(0, 1), grids)
      .features.view({patches_NPD.size(0), patches_NPD.size(1), -1});
}

/// Lists that become the tensors of a group.
struct GroupLists {
  Shape shape;
  std::vector<at::Tensor> tiles, colours, glyphs;
};

}  // namespace

int64_t Album::pictures() const {
  int64_t count = 0;
  for (const Group& group : groups) count += group.colours.size(0);
  return count;
}

int64_t Album::asked_of(const Group& group, int64_t most) const {
  const auto shapes = static_cast<int64_t>(groups.size());
  const int64_t have = group.features.size(0);
  return most == 0 ? have : std::min(have, (most + shapes - 1) / shapes);
}

void draw_album(const fs::path& folder, const std::string& name, int64_t count,
                const std::vector<Shape>& shapes, uint64_t seed, const World& world) {
  std::error_code code;
  fs::create_directories(folder, code);
  if (code) throw EnvironmentError("{}: the folder cannot be made ({})", folder.string(), code.message());
  Json labels = Json::array();
  for (int64_t i = 0; i < count; ++i) {
    Rng rng = make_rng(seed, {key_of(name), static_cast<uint64_t>(i)});
    const Picture picture = random_picture(shapes[static_cast<size_t>(i) % shapes.size()], rng, world);
    const std::string file = fmt::format("{:05}.png", i);
    write_png(folder / file, draw_picture(picture, rng));
    labels.push_back({{"image", file},
                      {"columns", picture.shape.columns},
                      {"rows", picture.shape.rows},
                      {"colours", picture.colours},
                      {"glyphs", picture.glyphs}});
  }
  write_text_durably(folder / kLabels, labels.dump() + "\n");
}

Album open_album(const fs::path& folder, const Cutter& cutter) {
  const Json labels = read_json_file(folder / kLabels);
  const std::string what = (folder / kLabels).string();
  if (!labels.is_array() || labels.empty()) throw InputError("{}: expected a list of pictures", what);
  std::map<std::string, GroupLists> lists;
  for (const Json& entry : labels) {
    const World& world = cutter.world();
    const Shape shape =
        shape_of(json_integer(entry, "columns", what), json_integer(entry, "rows", what), world);
    const fs::path file = folder / json_string(entry, "image", what);
    const at::Tensor tiles = cutter.cut(read_image(file).rgb_HW3, shape, file.string());
    GroupLists& group = lists[shape.name()];
    group.shape = shape;
    group.tiles.push_back(tiles);
    group.colours.push_back(
        at::tensor(read_labels(entry, "colours", world.colours(), world.cells(), what), at::kLong));
    group.glyphs.push_back(
        at::tensor(read_labels(entry, "glyphs", world.glyphs, world.cells(), what), at::kLong));
  }
  Album album;
  album.world = cutter.world();
  for (const auto& [name, group] : lists) {
    album.groups.push_back(
        {group.shape, at::stack(group.colours), at::stack(group.glyphs), at::stack(group.tiles), {}});
  }
  return album;
}

std::vector<int64_t> token_sources(const AnyresGeometry& geometry) {
  std::vector<int64_t> sources;
  const int64_t g = geometry.thumbnail_HW[0];
  for (int64_t patch = 0; patch < g * g; ++patch) sources.push_back(patch);
  const auto [rows, columns] = geometry.feat_H1W1;
  const auto [first_row, first_column] = geometry.feat_offset_rc.value_or(std::array<int64_t, 2>{0, 0});
  for (int64_t row = first_row; row < first_row + rows; ++row) {
    for (int64_t column = first_column; column < first_column + columns; ++column) {
      const int64_t tile = 1 + row / g * geometry.tiles_cols_rows[0] + column / g;
      sources.push_back(tile * g * g + row % g * g + column % g);
    }
    if (geometry.newline) sources.push_back(-1);
  }
  return sources;
}

at::Tensor see(const Llava& llava, const Group& group, const at::Tensor& chosen) {
  const at::Tensor pictures = group.tiles.index_select(0, chosen);
  if (llava.tower.config.packed) return see_patches(llava, group.shape, pictures);
  const at::Tensor seen = visual_features(llava.tower, pictures.flatten(0, 1), llava.config.feature_layers);
  return seen.reshape({pictures.size(0), -1, seen.size(2)});
}

void look_at(Album& album, const Llava& llava) {
  const at::NoGradGuard no_grad;
  for (Group& group : album.groups) {
    const int64_t pictures = group.tiles.size(0);
    std::vector<at::Tensor> parts;
    if (llava.tower.config.packed) {
      for (int64_t first = 0; first < pictures; first += kPicturesThroughTower) {
        const int64_t count = std::min(kPicturesThroughTower, pictures - first);
        parts.push_back(see_patches(llava, group.shape, group.tiles.narrow(0, first, count)).flatten(0, 1));
      }
    } else {
      const at::Tensor tiles = group.tiles.flatten(0, 1);
      for (int64_t first = 0; first < tiles.size(0); first += kTilesThroughTower) {
        const int64_t count = std::min(kTilesThroughTower, tiles.size(0) - first);
        parts.push_back(
            visual_features(llava.tower, tiles.narrow(0, first, count), llava.config.feature_layers));
      }
    }
    const at::Tensor patches = at::cat(parts).reshape({pictures, -1, parts[0].size(-1)});
    // A row of zeros stands where newlines point to.
    std::vector<int64_t> sources = view_of(group.shape, album.world.order).sources;
    std::replace(sources.begin(), sources.end(), int64_t{-1}, patches.size(1));
    const at::Tensor none = at::zeros({pictures, 1, patches.size(2)});
    group.features = at::cat({patches, none}, 1).index_select(1, at::tensor(sources, at::kLong));
    group.tiles = at::Tensor();
  }
}

void save_albums(const fs::path& file, const std::vector<std::pair<std::string, Album>>& albums) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, album] : albums) {
    for (const Group& group : album.groups) {
      const std::string key = name + "/" + group.shape.name() + "/";
      tensors[key + "colours"] = group.colours;
      tensors[key + "glyphs"] = group.glyphs;
      tensors[key + "features"] = group.features;
    }
  }
  write_safetensors_file(file, tensors);
}

Album load_album(const fs::path& file, const std::string& name, const World& world) {
  const auto checkpoint = open_checkpoint(file);
  std::vector<Shape> shapes = seen_shapes(world);
  for (const Shape& shape : unseen_shapes(world)) shapes.push_back(shape);
  Album album;
  album.world = world;
  for (const Shape& shape : shapes) {
    const std::string key = name + "/" + shape.name() + "/";
    const auto has = [&](const TensorInfo& info) { return info.name == key + "features"; };
    const auto& tensors = checkpoint->tensors();
    if (std::none_of(tensors.begin(), tensors.end(), has)) continue;
    album.groups.push_back({shape,
                            checkpoint->take(key + "colours", at::kLong),
                            checkpoint->take(key + "glyphs", at::kLong),
                            {},
                            checkpoint->take(key + "features", at::kFloat)});
  }
  if (album.groups.empty()) throw InputError("{}: expected pictures \"{}\", found none", file.string(), name);
  return album;
}

}  // namespace ropescope::miniature
