// A config as a flat list of full keys and values.

#include "config/fields.h"
#include "config/node.h"
#include "config/text.h"

namespace mara::config {
namespace {

class Lister final : public Fields {
 public:
  void leave() override { path_.pop_back(); }
  void kind(const char* key, std::string& value, const std::vector<std::string>&, const char*,
            const std::function<void(const std::string&)>& bind) override {
    visit({key, "", {}}, value);
    bind(value);
  }
  void require(bool, const char*, const std::string&) override {}

  std::vector<KeyValue> values;

 protected:
  void visit(const Info& info, Ref value) override { values.push_back({full(info.key), value_text(value)}); }
  void enter(const char* key, const char*) override { path_.push_back(full(key)); }
  bool enter_optional(const char* key, const char* help, bool present) override {
    if (present) enter(key, help);
    return present;
  }

 private:
  std::string full(const char* key) const { return path_.empty() ? key : join_key(path_.back(), key); }
  std::vector<std::string> path_;
};

}  // namespace

std::vector<KeyValue> values_with(const std::function<void(Fields&)>& bind) {
  Lister lister;
  bind(lister);
  return std::move(lister.values);
}

}  // namespace mara::config
