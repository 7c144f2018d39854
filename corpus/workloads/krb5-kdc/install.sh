# shellcheck shell=sh
kdb5_util create -s -r TEST -P master
kadmin.local -r TEST addprinc -pw secret tester
