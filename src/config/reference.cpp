// Lists every option a config can have, walking through all kinds in turn.

#include <utility>

#include "config/fields.h"
#include "config/node.h"
#include "config/text.h"

namespace mara::config {
namespace {

class Lister final : public Fields {
 public:
  std::vector<Option> options;

  void leave() override { paths_.pop_back(); }
  void kind(const char* key, std::string& value, const std::vector<std::string>& names, const char* help,
            const std::function<void(const std::string&)>& bind) override {
    visit({key, help, one_of(names), true}, value);
    const std::string path = paths_.back();
    for (const std::string& name : names) {
      value = name;
      paths_.back() = path + "(" + name + ")";
      bind(name);
    }
    paths_.back() = path;
  }
  void require(bool, const char*, const std::string&) override {}

 protected:
  void visit(const Info& info, Ref value) override {
    options.push_back({join_key(paths_.back(), info.key), type_name(value), info.required ? "" : value_text(value),
                       info.check.requirement, info.help, info.required});
  }
  void enter(const char* key, const char* help) override {
    const std::string path = join_key(paths_.back(), key);
    options.push_back({path, "mapping", "", "", help});
    paths_.push_back(path);
  }
  bool enter_optional(const char* key, const char* help, bool) override {
    enter(key, help);
    options.back().value = "left out";
    return true;
  }

 private:
  std::vector<std::string> paths_{""};
};

}  // namespace

std::vector<Option> options_with(const std::function<void(Fields&)>& bind) {
  Lister lister;
  bind(lister);
  return std::move(lister.options);
}

}  // namespace mara::config
