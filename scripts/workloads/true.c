// SPDX-License-Identifier: Apache-2.0
//
// true is an entrypoint that does nothing and exits 0.

int main(void)
{
	return 0;
}
