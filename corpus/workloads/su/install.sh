# shellcheck shell=sh
useradd --create-home tester
