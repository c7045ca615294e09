#include "data/tokenizer.h"

#include "core/error.h"
#include "io/hash.h"

namespace mara::data {
namespace {

constexpr const char* kBytes = "bytes";

class Bytes final : public Tokenizer {
 public:
  std::string name() const override { return kBytes; }
  uint64_t hash() const override { return io::xxh3(kBytes, std::string_view(kBytes).size()); }
  int64_t vocabulary() const override { return kSeparator + 1; }
  int32_t separator() const override { return kSeparator; }
  void encode(std::string_view text, std::vector<int32_t>& ids) const override {
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    ids.insert(ids.end(), bytes, bytes + text.size());
  }
  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id != kSeparator) text += static_cast<char>(id);
    }
    return text;
  }
  int64_t bytes(int32_t id) const override { return id == kSeparator ? 0 : 1; }

 private:
  static constexpr int32_t kSeparator = 256;
};

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name) {
  MARA_CHECK(name == kBytes, "tokenizer: 'bytes' is the only one there is, got '", name, "'");
  return std::make_unique<Bytes>();
}

std::vector<std::string> tokenizer_names() { return {kBytes}; }

}  // namespace mara::data
