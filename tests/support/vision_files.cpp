#include "tests/support/vision_files.h"

#include <array>
#include <fstream>
#include <vector>

namespace ropescope::testing {

void write_tiff(const std::string& path, int64_t width, int64_t height, int64_t claimed_width,
                int64_t claimed_height) {
  std::string bytes = "II*";
  const auto number = [&](int64_t value, int count) {
    for (int i = 0; i < count; ++i) bytes.push_back(static_cast<char>(value >> (8 * i) & 255));
  };
  constexpr int64_t kShort = 3, kLong = 4;
  const int64_t pixels = 3 * width * height;
  struct Field {
    int64_t tag, type, value;
  };
  const std::array<Field, 9> fields = {{{256, kLong, claimed_width > 0 ? claimed_width : width},
                                        {257, kLong, claimed_height > 0 ? claimed_height : height},
                                        {258, kShort, 8},
                                        {259, kShort, 1},
                                        {262, kShort, 2},
                                        {273, kLong, 8},
                                        {277, kShort, 3},
                                        {278, kLong, claimed_height > 0 ? claimed_height : height},
                                        {279, kLong, pixels}}};
  number(0, 1);
  number(8 + pixels, 4);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      number(255 * x / width, 1);
      number(255 * y / height, 1);
      number(128, 1);
    }
  }
  number(static_cast<int64_t>(fields.size()), 2);
  for (const Field& field : fields) {
    number(field.tag, 2);
    number(field.type, 2);
    number(1, 4);
    number(field.value, 4);
  }
  number(0, 4);
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace ropescope::testing
